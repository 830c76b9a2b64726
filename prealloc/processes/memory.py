"""Memory of processes and of the machine, in bytes, as the system tells it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from prealloc.processes.cgroups import tightest

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def proportional_bytes(pids: Iterable[int]) -> int:
    """The memory of these processes: proportional set size (PSS), which counts shared pages once in all.

    Costs about a millisecond a process. Elsewhere than on Linux it is the resident set size.
    """
    return sum(map(_proportional if sys.platform == "linux" else _resident, pids))


def resident_bytes(pids: Iterable[int]) -> int:
    """The same with shared pages counted in every process that has them (RSS): too much, but had in microseconds."""
    return sum(map(_resident, pids))


def available_bytes() -> int:
    """What may still be taken before the machine swaps, or this process's control group is at its limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    bound = tightest("memory")
    return free if bound is None else min(free, bound.left)


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # it is gone
    return 0


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
