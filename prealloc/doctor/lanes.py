"""Whether the limits of lanes can hold over all runs of this user, and which runs share lanes right now."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, warning
from prealloc.files.lock import can_lock
from prealloc.files.paths import SharedPaths, runtime_folder
from prealloc.files.private import private_folder, secret
from prealloc.files.regular import Unusable
from prealloc.lanes.lane_file import Damaged, LaneFile

_NAME = "shared lanes"


def check_lanes() -> list[Finding]:
    """Does what a run with lanes does, in a file of its own that is removed; then reads those of the runs."""
    if not can_lock:
        return []
    try:
        paths = SharedPaths(private_folder(runtime_folder()))
        secret(paths.secret)
        _try(paths.lane("doctor"))
        return [ok(_NAME, f"runs of yours keep to a key's limits together, by {paths.root}{_in_use(paths)}")]
    except (Unusable, Damaged, OSError) as error:
        hint = "make it usable, or set XDG_RUNTIME_DIR to a folder that only you may enter (mode 700)"
        return [warning(_NAME, f"each run keeps to its lanes' limits by itself: {error}", hint)]


def _try(path: Path) -> None:
    file = LaneFile(path)
    try:
        file.lock()
        file.write([])
        file.read()
    finally:
        file.close()
        path.unlink()


def _in_use(paths: SharedPaths) -> str:
    """In words: how many lanes are in use, by how many runs, and whether one is paused."""
    now, lanes, runs, longest_s = time.monotonic(), 0, 0, 0.0
    for path in paths.lanes():
        with contextlib.suppress(Unusable, Damaged, OSError), contextlib.closing(LaneFile(path)) as file:
            accounts = [each for each in file.read() if each.counts(now)]
            living = sum(each.is_alive(now) for each in accounts)
            lanes, runs = lanes + bool(living), runs + living
            longest_s = max([longest_s, *(each.paused_until - now for each in accounts)])
    told = f"; in use now: lanes {lanes}, runs {runs}" if lanes else ""
    return told + (f"; a server has asked for a pause of {longest_s:,.0f} s more" if longest_s > 0 else "")
