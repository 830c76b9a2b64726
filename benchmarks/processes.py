"""Processes seen from outside: who is below us, what memory they hold, and that none is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable

PR_SET_CHILD_SUBREAPER = 36
GONE_S = 5.0
"""After a way has ended, its helpers (resource trackers and the like) get this long to end too."""


def adopt_orphans() -> None:
    """From now on, processes below us whose parents end become our children: none gets out of sight."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> dict[int, int]:
    """{pid: parent} of all living processes below this one, orphans included."""
    parents = {pid: parent for pid in _all_pids() if (parent := _living_parent(pid)) is not None}
    found: dict[int, int] = {}
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level and pid not in found}
        found |= {pid: parents[pid] for pid in level}
    return found


def proportional_bytes(pids: Iterable[int]) -> int:
    """The sum of these processes' proportional set sizes (PSS): shared pages are counted once in all."""
    return sum(map(_proportional, pids))


def end_the_rest() -> int:
    """Waits for what is still below us, kills what does not end, reaps all of it. Returns how many were killed."""
    until = time.monotonic() + GONE_S
    while descendants() and time.monotonic() < until:
        _reap()
        time.sleep(0.02)
    killed: set[int] = set()
    while left := descendants():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= left.keys()
        time.sleep(0.02)
        _reap()
    _reap()
    return len(killed)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _living_parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    state, parent = text[text.rfind(b")") + 2 :].split()[:2]  # a name in parentheses may hold anything
    return None if state == b"Z" else int(parent)


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0  # it has just ended
    return 0
