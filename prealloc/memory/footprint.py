"""Memory of single processes, as the system tells it."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Footprint(NamedTuple):
    """In bytes."""

    pss: int
    """Proportional set size: each page divided by the number of processes that share it, so that sums are right."""
    uss: int
    """Unique set size: what would be freed if this process ended."""


def footprint(pid: int) -> Footprint | None:
    """None if there is no such process (any more). Costs milliseconds for a large one.

    Linux tells both in /proc/PID/smaps_rollup. Elsewhere psutil does, with the resident set size in the place of the
    PSS where the system does not know that.
    """
    return _linux(pid) if sys.platform == "linux" else _elsewhere(pid)


def _linux(pid: int) -> Footprint | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            text = file.read()
    except OSError:
        return None
    found: dict[bytes, int] = {}
    for line in text.splitlines()[1:]:
        name, value = line.split(None, 2)[:2]
        found[name] = int(value) * 1024
    if b"Pss:" not in found:  # it has just ended
        return None
    return Footprint(found[b"Pss:"], found[b"Private_Clean:"] + found[b"Private_Dirty:"])


def _elsewhere(pid: int) -> Footprint | None:
    import psutil

    try:
        info = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return Footprint(int(getattr(info, "pss", info.rss)), int(info.uss))
