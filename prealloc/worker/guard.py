"""The library guard: sees every Python-level open in this process, and refuses the task library's file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from prealloc.errors import LibraryOpened

# Events whose first argument names a file that gets opened (PEP 578, and sqlite3's own).
_OPENING = frozenset({"open", "sqlite3.connect", "os.link", "os.symlink", "os.rename", "os.truncate"})


class LibraryGuard:
    """An audit hook. It cannot be taken out again, so there is one per process and `protect` may be called late."""

    def __init__(self) -> None:
        self._files: frozenset[tuple[int, int]] = frozenset()
        self._tell: Callable[[str], None] | None = None
        self._installed = False
        self.opens = 0

    def protect(self, files: frozenset[tuple[int, int]], tell: Callable[[str], None]) -> None:
        """From now on, refuse to open these (device, inode) pairs, and tell each try with its path."""
        self._files = files
        self._tell = tell
        if files and not self._installed:
            sys.addaudithook(self._hook)
            self._installed = True

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPENING or not self._files or not arguments:
            return
        target = arguments[0]
        if not isinstance(target, str | bytes | int | os.PathLike) or target is None:
            return
        try:
            found = os.stat(target)
        except (OSError, ValueError):
            return  # no such file: the open itself will say so
        if (found.st_dev, found.st_ino) not in self._files:
            return
        self.opens += 1
        path = os.fsdecode(target) if not isinstance(target, int) else f"descriptor {target}"
        if self._tell is not None:
            self._tell(path)
        raise LibraryOpened(
            "a worker tried to open the task library, and was refused",
            where=path,
            mend="use what the task carries; further fields travel with `prealloc plan --keep FIELD`",
        )


guard = LibraryGuard()
"""The one of this process."""
