"""Files of lines that other processes append to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.document import UNREADABLE
from prealloc.store.journal import JournalFile, journal_files, parse_line
from prealloc.store.journal_lines import AnyRecord, AttemptLine

T = TypeVar("T")

MOST_BYTES = 2**28
"""A larger file that nothing rests on is none of ours."""


def content_of(path: Path) -> bytes:
    """The content of a file that nothing rests on; none if it cannot be read."""
    try:
        with open(open_regular(path, inside=path.parent), "rb") as file:
            return file.read(MOST_BYTES)
    except (Unusable, OSError):
        return b""


def decoded(decoder: msgspec.json.Decoder[T], lines: Iterable[bytes]) -> Iterator[T]:
    """Those of the lines that can be read."""
    for line in lines:
        with contextlib.suppress(*UNREADABLE):
            yield decoder.decode(line)


class LinesTail:
    """The lines of one file, each once, when it is whole; read on from where it was read to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[bytes]:
        """Those that have come since the last call; none if the file is not there."""
        try:
            descriptor = open_regular(self._path, inside=self._path.parent)
        except Unusable:
            return []
        with open(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if size < self._offset:  # it was made shorter: what is in it now was read in longer words
                self._offset = size
            if size == self._offset:
                return []
            file.seek(self._offset)
            raw = file.read(size - self._offset)
        end = raw.rfind(b"\n") + 1
        self._offset += end
        return raw[:end].split(b"\n")[:-1]


class Told(NamedTuple):
    """A line of the journal, and who wrote it."""

    file: JournalFile
    content: AttemptLine | AnyRecord


class JournalTail:
    """The lines of a journal from one session on."""

    def __init__(self, run: RunPaths, session: int) -> None:
        self._run = run
        self._session = session
        self._tails: dict[str, LinesTail] = {}
        self._lines: dict[str, int] = {}

    def new(self) -> Iterator[Told]:
        """Those that have come since the last call, file by file. Raises JournalError for one that is damaged."""
        for file in journal_files(self._run):
            if file.writer.session < self._session:
                continue
            name = file.path.name
            tail = self._tails.setdefault(name, LinesTail(file.path))
            for line in tail.new():
                self._lines[name] = self._lines.get(name, 0) + 1
                yield Told(file, parse_line(file, line, self._lines[name]))
