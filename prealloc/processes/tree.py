"""Whole process trees: who descends from whom, and the kill ladder. Linux tells it in /proc; elsewhere psutil does."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: float


def descendants(roots: Iterable[int]) -> list[Process]:
    """All processes below these, those that left their group or session too."""
    parents = _table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[Process] = []
    stack = list(roots)
    while stack:
        for child in children.get(stack.pop(), ()):
            found.append(Process(child, parents[child][1]))
            stack.append(child)
    return found


def identify(pid: int) -> Process | None:
    """The process of this number that lives now."""
    row = _row(pid)
    return Process(pid, row[1]) if row else None


def parent_of(pid: int) -> int | None:
    """The parent's process id; None if there is no such process (any more)."""
    row = _row(pid)
    return row[0] if row else None


def started_with(pid: int, name: str) -> str | None:
    """The value that an environment variable had when the process was started; None if that cannot be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:
        return None
    found = environment.find(b"\0" + name.encode() + b"=")
    if found < 0:
        return None
    return environment[found + len(name) + 2 :].partition(b"\0")[0].decode(errors="replace")


def started_below(name: str, values: Collection[str]) -> list[Process]:
    """The processes that were started with one of these values in an environment variable, whoever is their parent."""
    return [Process(pid, row[1]) for pid, row in _table().items() if started_with(pid, name) in values]


def send_signal(processes: Iterable[Process], number: int) -> None:
    """Signals those that still live."""
    for process in processes:
        if identify(process.pid) == process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)


def kill_group(leader: int, number: int = signal.SIGKILL) -> None:
    """Signals a whole process group; its leader may be dead already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _table() -> dict[int, tuple[int, float]]:
    """{pid: (parent, start time)} of everything that runs."""
    if sys.platform == "linux":
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return {pid: row for pid in pids if (row := _row(pid)) is not None}
    import psutil

    return {
        process.pid: (process.info["ppid"], process.info["create_time"])
        for process in psutil.process_iter(["ppid", "create_time"])
    }


def _row(pid: int) -> tuple[int, float] | None:
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                text = file.read()
        except OSError:
            return None
        # The name in parentheses may hold anything; fields after it: 0 state, 1 parent, ... 19 start time.
        fields = text[text.rfind(b")") + 2 :].split()
        return None if fields[0] == b"Z" else (int(fields[1]), float(fields[19]))
    import psutil

    try:
        process = psutil.Process(pid)
        return process.ppid(), process.create_time()
    except psutil.Error:
        return None
