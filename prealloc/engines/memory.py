"""Memory of processes and of the machine, in bytes, as the system tells it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_CGROUPS = Path("/sys/fs/cgroup")
_MY_GROUPS = Path("/proc/self/cgroup")


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
    return min(free, *rooms) if (rooms := list(_cgroup_rooms())) else free


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


def _cgroup_rooms() -> Iterable[int]:
    """What each control group that this process is in, up to the root, leaves it (version 2, else version 1)."""
    try:
        lines = _MY_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version_2 = not controllers
        root = _CGROUPS if version_2 else _CGROUPS / "memory"
        names = ("memory.max", "memory.current") if version_2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            limit, used = (_number(group / name) for name in names)
            if limit is not None and used is not None:
                yield max(0, limit - used)
            if group == root:
                break


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit
