"""What the control groups that this process is in allow it, versions 1 and 2, and whether memory ran out in them."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

PROC = Path("/proc")

_UNLIMITED = 2**60
"""Version 1 says "no limit" with a number near 2**63."""

_FILES: dict[tuple[str, bool], tuple[str, str]] = {
    ("memory", True): ("memory.max", "memory.current"),
    ("memory", False): ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("pids", True): ("pids.max", "pids.current"),
    ("pids", False): ("pids.max", "pids.current"),
}

_KILLS = {True: "memory.events", False: "memory.oom_control"}
"""The file that counts processes of the group that the kernel's OOM killer has killed, wherever memory ran out."""

SETTLED_S = 5.0
"""A process that the OOM killer has chosen is gone by then, even if it was large."""

_LOOK_S = 0.2
"""How often strays are looked for: whoever waits for events asks at every turn."""

Kind = Literal["memory", "pids"]


class Bound(NamedTuple):
    """One limit of one control group."""

    limit: int
    left: int
    folder: str


def tightest(kind: Kind, proc: Path | None = None) -> Bound | None:
    """The limit that leaves least, of this process's group and all groups above it; None without one.

    Source: cgroups(7), proc(5); https://docs.kernel.org/admin-guide/cgroup-v2.html. `proc` is for tests.
    """
    groups = _groups(kind, proc or PROC)
    bounds = (bound for folder, version_2 in groups if (bound := _bound(folder, kind, version_2)))
    return min(bounds, key=lambda bound: bound.left, default=None)


class OomKills:
    """Sees when the kernel's OOM killer kills a process of this one's control group. `proc` and `now` are for tests.

    Where no group counts that, the whole machine's kills are seen. It is to be asked every now and then.
    """

    def __init__(self, proc: Path | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc or PROC
        self._now = now
        files = (folder / _KILLS[version_2] for folder, version_2 in _groups("memory", self._proc))
        group = next((file for file in files if _kills(file) is not None), None)
        self._counts_group = group is not None
        self._file = group or self._proc / "vmstat"
        self._count = self._explained = _kills(self._file) or 0
        self._rose_at = self._look_at = -math.inf

    def explains(self, status: int, born_at: float) -> bool:
        """Whether a process that has lived since then, and ended with this status (as of os.waitpid), was hit by one.

        It counts before it kills. Two processes that are killed at about the same moment cannot be told apart, so one
        that somebody else has killed may be taken for hit too, never the other way round.
        """
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return False
        self._look()
        if self._rose_at < max(born_at, self._now() - SETTLED_S):
            return False
        self._explained = min(self._count, self._explained + 1)
        return True

    def strays(self) -> bool:
        """Whether one has hit another process of the group than those that were asked about. Says so once."""
        if self._now() < self._look_at:
            return False
        self._look_at = self._now() + _LOOK_S
        self._look()
        if self._count == self._explained or self._now() - self._rose_at < SETTLED_S:
            return False
        self._explained = self._count
        return self._counts_group

    def _look(self) -> None:
        count = _kills(self._file) or 0
        if count > self._count:
            self._rose_at = self._now()
        self._count = max(count, self._count)

    def told(self) -> str:
        """Who it is, and what it goes by."""
        bound = tightest("memory", self._proc)
        if bound is None or not self._counts_group:
            return "the kernel's OOM killer (the machine's memory is used up)"
        return f"the kernel's OOM killer (limit {bound.limit / 1e6:,.0f} MB, control group {bound.folder})"


def _groups(kind: Kind, proc: Path) -> Iterator[tuple[Path, bool]]:
    """The folders of this process's own group and of those above it, and whether they are of version 2."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
        mounts = (proc / "self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if version_2 or kind in controllers.split(","):
            for root, point in _mounted(mounts, None if version_2 else kind):
                yield from ((folder, version_2) for folder in _upwards(root, point, path))


def _mounted(mounts: list[str], controller: str | None) -> Iterator[tuple[str, Path]]:
    """Where the tree of a controller of version 1 is mounted (None: that of version 2), and from which group on."""
    for line in mounts:
        left, _, right = line.partition(" - ")
        kind, options = right.partition(" ")[0], right.rpartition(" ")[2]
        if kind == "cgroup2" if controller is None else kind == "cgroup" and controller in options.split(","):
            root, point = (text.replace("\\040", " ") for text in left.split(" ")[3:5])
            yield root, Path(point)


def _upwards(root: str, point: Path, path: str) -> Iterator[Path]:
    inner = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
    folder = point / inner
    if ".." in inner.parts or not folder.is_dir():
        folder = point  # in a container the path may be that of the host: what is mounted is its own group
    while folder != point:
        yield folder
        folder = folder.parent
    yield point


def _bound(folder: Path, kind: Kind, version_2: bool) -> Bound | None:
    limit_name, used_name = _FILES[kind, version_2]
    limit, used = _number(folder / limit_name), _number(folder / used_name)
    if limit is None or used is None or limit >= _UNLIMITED:
        return None
    if kind == "memory":
        used -= _reclaimable(folder / "memory.stat")
    return Bound(limit, max(0, limit - used), str(folder))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such controller, or "max"
        return None


def _fields(path: Path) -> dict[str, int]:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
        return {name: int(value) for name, value in rows}
    except (OSError, ValueError):
        return {}


def _reclaimable(path: Path) -> int:
    """File pages that the kernel drops before it kills anyone."""
    fields = _fields(path)
    return fields.get("total_inactive_file", fields.get("inactive_file", 0))


def _kills(path: Path) -> int | None:
    return _fields(path).get("oom_kill")
