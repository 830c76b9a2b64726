"""The library guard: sees every Python-level open in this process, and refuses the task library's file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from prealloc.errors import LibraryOpened

# Events whose first argument names a file that gets opened or a new way to it (PEP 578, and sqlite3's own).
_OPENING = frozenset({"open", "sqlite3.connect", "os.link", "os.symlink", "os.rename", "os.truncate"})


class LibraryGuard:
    """An audit hook. It cannot be taken out again, so there is one per process and `protect` may be called late."""

    def __init__(self) -> None:
        self._files: frozenset[tuple[int, int]] = frozenset()
        self._tell: Callable[[str], None] | None = None
        self._installed = False
        self.refused: list[str] = []
        """The paths of all tries, also of those whose refusal was swallowed."""

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
        if not any(self._is_library(target) for target in _targets(event, arguments)):
            return
        path = f"descriptor {arguments[0]}" if isinstance(arguments[0], int) else os.fsdecode(arguments[0])
        self.refused.append(path)
        if self._tell is not None:
            self._tell(path)
        raise LibraryOpened(
            "a worker may not open the task library",
            where=path,
            hint="use what the task carries; further fields travel with `prealloc plan --keep FIELD`",
        )

    def _is_library(self, target: _Target) -> bool:
        try:
            found = os.stat(target)
        except (OSError, ValueError):
            return False  # no such file: the open itself will say so
        return (found.st_dev, found.st_ino) in self._files


_Target = str | bytes | int


def _targets(event: str, arguments: tuple[Any, ...]) -> list[_Target]:
    """Everything that the file of an event may be."""
    target = arguments[0]
    if isinstance(target, int):
        return [target]
    if not isinstance(target, str | bytes | os.PathLike):
        return []
    path = os.fsdecode(target)
    if event == "sqlite3.connect" and path.startswith("file:"):
        return [path, _path_of_uri(path)]
    if event == "open" and len(arguments) > 1 and arguments[1] is None and not os.path.isabs(path):
        # os.open, which may be given a folder's descriptor that the event does not tell: so any of ours.
        return [path, *(f"/proc/self/fd/{folder}/{path}" for folder in _open_descriptors())]
    return [path]


def _open_descriptors() -> list[str]:
    try:
        return os.listdir("/proc/self/fd")
    except OSError:
        return []


def _path_of_uri(uri: str) -> str:
    """The file of an SQLite URI: `file:`, perhaps `//host`, the path with %XX in it, `?` and `#` after it."""
    from urllib.parse import unquote

    path = re.split("[?#]", uri.removeprefix("file:"), maxsplit=1)[0]
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]
    return unquote(path)


guard = LibraryGuard()
"""The one of this process."""
