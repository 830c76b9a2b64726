"""What the control groups that this process is in allow it, versions 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

_UNLIMITED = 2**60
"""Version 1 says "no limit" with a number near 2**63."""

_FILES: dict[tuple[str, bool], tuple[str, str]] = {
    ("memory", True): ("memory.max", "memory.current"),
    ("memory", False): ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("pids", True): ("pids.max", "pids.current"),
    ("pids", False): ("pids.max", "pids.current"),
}


class Bound(NamedTuple):
    """One limit of one control group."""

    limit: int
    left: int
    folder: str


def tightest(
    kind: Literal["memory", "pids"],
    proc: Path = Path("/proc/self/cgroup"),
    mounts: Path = Path("/sys/fs/cgroup"),
) -> Bound | None:
    """The limit that leaves least, of this process's group and all groups above it; None without one.

    Source: cgroups(7); https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    bounds: list[Bound] = []
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if not version_2 and kind not in controllers.split(","):
            continue
        roots = (mounts, mounts / "unified") if version_2 else (mounts / kind,)
        for root in roots:
            bounds += _upwards(root, root / path.lstrip("/"), kind, version_2)
    return min(bounds, key=lambda bound: bound.left, default=None)


def _upwards(root: Path, folder: Path, kind: str, version_2: bool) -> list[Bound]:
    if not folder.is_dir():
        folder = root  # in a container the path may be that of the host: what is mounted is its own group
    found: list[Bound] = []
    while True:
        if bound := _bound(folder, kind, version_2):
            found.append(bound)
        if folder == root:
            return found
        folder = folder.parent


def _bound(folder: Path, kind: str, version_2: bool) -> Bound | None:
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


def _reclaimable(path: Path) -> int:
    """File pages that the kernel drops before it kills anyone."""
    try:
        fields = dict(line.split() for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
