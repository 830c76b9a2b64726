"""The library guard: sees every Python-level open in this process, and refuses the task library's file."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prealloc.errors import LibraryOpened
from prealloc.files.paths import files_of

# Events whose first argument names a file that gets opened or a new way to it (PEP 578, and sqlite3's own).
_OPENING = frozenset({"open", "sqlite3.connect", "os.link", "os.symlink", "os.rename", "os.truncate"})


class LibraryGuard:
    """An audit hook. It cannot be taken out again, so there is one per process and `protect` may be called late."""

    def __init__(self) -> None:
        self._files: frozenset[tuple[int, int]] = frozenset()
        self._contents: dict[int, set[str | Path]] = {}
        self._allowed: set[str] = set()
        self._digests: dict[tuple[int, int, int, int], str] = {}
        self._tell: Callable[[str], None] | None = None
        self._installed = False
        self._looking = threading.local()
        self._first = ""
        """Where the library was opened first."""
        self.refused: list[str] = []
        """The paths of all tries, also of those whose refusal was swallowed."""

    def protect(self, files: frozenset[tuple[int, int]], tell: Callable[[str], None]) -> None:
        """From now on, refuse to open these (device, inode) pairs, and tell each try with its path."""
        self._files = files
        self._tell = tell
        self._install()

    def protect_too(self, files: frozenset[tuple[int, int]], contents: Mapping[int, set[str | Path]]) -> None:
        """Refuse these as well, and every copy: of a file's size, what has one of these sha256 or is like this file."""
        self._files |= files
        for size, known in contents.items():
            self._contents.setdefault(size, set()).update(known)
        self._install()

    def allow(self, sha256: str) -> None:
        """A file of this content is not a copy: a slice may hold all of a library."""
        self._allowed.add(sha256)

    def _install(self) -> None:
        if (self._files or self._contents) and not self._installed:
            sys.addaudithook(self._hook)
            self._installed = True

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPENING or not (self._files or self._contents) or not arguments:
            return
        if getattr(self._looking, "now", False):  # it is this hook that opens
            return
        try:
            self._looking.now = True
            found = any(self._is_library(target) for target in _targets(event, arguments))
            if found and not self._first:
                self._first = _places(traceback.extract_stack())
        finally:
            self._looking.now = False
        if not found:
            return
        path = f"descriptor {arguments[0]}" if isinstance(arguments[0], int) else os.fsdecode(arguments[0])
        self.refused.append(path)
        if self._tell is not None:
            self._tell(path)
        problem = f"a worker may not open the task library (first opened at {self._first})"
        hint = "use what the task carries; further fields travel with `prealloc plan --keep FIELD`"
        raise LibraryOpened(problem, where=path, hint=hint)

    def _is_library(self, target: _Target) -> bool:
        try:
            found = os.stat(target)
        except (OSError, ValueError):
            return False  # no such file: the open itself will say so
        if (found.st_dev, found.st_ino) in self._files:
            return True
        known = self._contents.get(found.st_size, ())
        if not known or not stat.S_ISREG(found.st_mode):
            return False
        digest = self._digest(target, found)
        return digest not in self._allowed and any(digest == self._digest_of(each) for each in known)

    def _digest_of(self, known: str | Path) -> str | None:
        """The sha256 of content that is refused."""
        if isinstance(known, str):
            return known
        try:
            return self._digest(str(known), os.stat(known))
        except OSError:
            return None  # it is gone by now

    def _digest(self, target: _Target, found: os.stat_result) -> str:
        """The sha256 of a file as it is now; empty if it cannot be read."""
        key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        if key not in self._digests:
            try:
                with open(f"/proc/self/fd/{target}" if isinstance(target, int) else target, "rb") as file:
                    self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
            except (OSError, ValueError):
                return ""
        return self._digests[key]


_STANDARD = (str(Path(os.__file__).parent), "<frozen")
_PLACES = 4


def _places(stack: traceback.StackSummary) -> str:
    """The innermost places of the program's own code, the call of `open` first."""
    outside = [each for each in stack if each.filename != __file__]
    own = [each for each in outside if not each.filename.startswith(_STANDARD)] or outside
    return ", called from ".join(f"{each.filename}:{each.lineno} in {each.name}" for each in own[: -_PLACES - 1 : -1])


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


def library_files(paths: Sequence[str]) -> frozenset[tuple[int, int]]:
    """(device, inode) of the libraries that are still there, see `files_of`."""
    found: set[tuple[int, int]] = set()
    for path in paths:
        for file in files_of(Path(path)):
            with suppress(OSError, ValueError):  # gone, or no path at all: it comes from a file
                status = file.stat()
                found.add((status.st_dev, status.st_ino))
    return frozenset(found)


guard = LibraryGuard()
"""The one of this process."""
