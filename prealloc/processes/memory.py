"""Memory, in bytes, as the system reports it: of processes and of the machine; and memory that processes share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

from prealloc.processes.cgroups import tightest

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Footprint(NamedTuple):
    """In bytes."""

    pss: int
    """Proportional set size: each page divided by the number of processes that share it, so that sums are right."""
    uss: int
    """Unique set size: what would be freed if this process ended."""


def footprint(pid: int) -> Footprint | None:
    """None if there is no such process (any more). Costs about a millisecond, and more for a large one.

    Linux shows both in /proc/PID/smaps_rollup. Elsewhere psutil does, with the resident set size in the place of the
    PSS where the system does not know that.
    """
    return _linux(pid) if sys.platform == "linux" else _elsewhere(pid)


def proportional_bytes(pids: Iterable[int]) -> int:
    """The memory of these processes together (PSS): shared pages are counted once in all."""
    return sum(found.pss for pid in pids if (found := footprint(pid)) is not None)


def resident_bytes(pids: Iterable[int]) -> int:
    """The same with shared pages counted in every process that has them (RSS): too much, but read in microseconds."""
    return sum(map(_resident, pids))


def available_bytes() -> int:
    """What may still be taken before the machine swaps, or this process's control group is at its limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    bound = tightest("memory")
    return free if bound is None else min(free, bound.left)


def unnamed_memory(name: str, size: int = 0) -> int:
    """The descriptor of new memory of this size, as a file: gone with the last process that has it open.

    `name` is shown to people who look. Without Linux it is an unnamed temporary file.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(name)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _linux(pid: int) -> Footprint | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            rows = (line.split() for line in file.readlines()[1:])
            kilobytes = {name: int(value) for name, value, _ in rows}
    except OSError:
        return None
    if b"Pss:" not in kilobytes:  # it has just ended
        return None
    return Footprint(kilobytes[b"Pss:"] * 1024, (kilobytes[b"Private_Clean:"] + kilobytes[b"Private_Dirty:"]) * 1024)


def _elsewhere(pid: int) -> Footprint | None:
    import psutil

    try:
        info = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return Footprint(int(getattr(info, "pss", info.rss)), int(info.uss))


def _resident(pid: int) -> int:
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE
        except OSError:
            return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
