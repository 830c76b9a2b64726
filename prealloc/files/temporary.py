"""Temporary folders. What a killed process leaves, the next process of the same user removes.

    prealloc-host-6f1c03b2-k2x9_a1b    its purpose, the boot of the machine, random characters

The owner holds a lock on the folder (flock), which the kernel drops when the owner dies. Machines may share the place,
and not every file system shares locks. So a folder is removed only in the boot that its name says. A folder without a
boot in its name was not locked. `prealloc doctor` lists those that are not removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.lock import can_lock, hold
from prealloc.files.private import refuse_unless_private
from prealloc.files.regular import Unusable
from prealloc.processes.boot import boot_id
from prealloc.processes.forks import forks

_NAME = re.compile(r"prealloc-([a-z]+)-(?:([0-9a-f]{8})-)?[a-z0-9_]{8}")
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def temporary_folder(kind: str, place: str | Path | None = None) -> Iterator[Path]:
    """Gives a new folder that only this user may enter, and removes it at the end.

    First it removes what killed owners of this kind have left in `place` (default: TMPDIR).
    """
    place, boot = place or tempfile.gettempdir(), boot_id()[:8]
    for folder, (its_kind, its_boot) in _folders(place):
        if (its_kind, its_boot) == (kind, boot):
            with _locked(folder) as ours:
                if ours:
                    shutil.rmtree(folder, ignore_errors=True)
    fault_point(Point.TEMPORARY_MAKE)
    folder = Path(tempfile.mkdtemp(prefix=f"prealloc-{kind}-", dir=place))
    with _locked(folder) as ours:
        try:
            if ours and boot:  # locked first: a boot without a lock means that the owner is dead
                folder = folder.rename(folder.with_name(f"prealloc-{kind}-{boot}-{folder.name[-8:]}"))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def left_alone(place: str | Path) -> list[Path]:
    """Folders of this user whose owner may be dead or not: of another boot, of another machine, or without a lock."""
    return [folder for folder, (_, boot) in _folders(place) if boot != boot_id()[:8]]


def _folders(place: str | Path) -> Iterator[tuple[Path, tuple[str, str | None]]]:
    """The user's folders, each with its kind and boot."""
    if not can_lock or not os.access(place, os.R_OK):
        return
    for name in os.listdir(place):
        if match := _NAME.fullmatch(name):
            with contextlib.suppress(Unusable):  # a link, or another user's
                refuse_unless_private(Path(place, name))
                yield Path(place, name), (match[1], match[2])


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Locks the folder for the block. False: another process holds it, or the file system has no locks."""
    descriptor: int | None = None
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | _FOLDER)
    if descriptor is None:
        yield False
        return
    forks.keep_from(descriptor)
    try:
        yield hold(descriptor)
    finally:
        forks.forget(descriptor)
        os.close(descriptor)
