"""Cleans up after an attempt whose process was killed: calls the user's --cleanup function."""

from __future__ import annotations

import inspect
import socket
import traceback
from collections.abc import Sequence
from typing import Any

from prealloc.worker.attempt import wait_for
from prealloc.worker.function import load_function
from prealloc.worker.guard import guard
from prealloc.worker.job import CleanupJob
from prealloc.worker.messages import Channel, Opened


def run_cleanup(job: CleanupJob, sock: socket.socket) -> int:
    """Does a job in this process, whose output goes to the shard's log. Returns the exit code."""
    channel = Channel(sock)
    guard.protect(frozenset(job.library), lambda path: channel.send(Opened(path)))
    try:
        call_cleanup(job.cleanup, job.import_path, job.unit, job.notes)
    except BaseException:  # the user's function may do anything
        traceback.print_exc()
        return 1
    return 0


def call_cleanup(name: str, import_path: Sequence[str], unit: str, notes: Sequence[Any]) -> None:
    """Calls the function of this name with the unit's id, and a list of what the attempt has noted."""
    value = load_function(name, import_path, "(unit, notes)").call(unit, list(notes))
    if inspect.isawaitable(value):
        import asyncio

        asyncio.run(wait_for(value))
