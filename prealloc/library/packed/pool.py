"""A task pool: one read-only file that any number of processes map into memory, and share.

What a process reads of it are pages of the system's file cache: there once, however many read them, and nothing of
them is written to, as reference counts would be in objects shared by a fork. It is a file like any other, so that
nothing is left in memory when its readers are gone or killed.

    16 bytes       "prealloc-pool 1\\n"
    tasks          the compact object of each, its workflow last, one behind the other
    a packed table (table.py), which says where
    16 bytes       where the table begins (u64, little-endian), and "poolend\\n"

A pool must not be written to while it is attached: make a new one, which takes the old one's place in one step. Readers
look at its size and time of change before every read, and refuse one that was; but who cuts it in the very moment of a
read ends the reader with SIGBUS, as the system does with every mapped file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prealloc.errors import LibraryError
from prealloc.library.base import Record, joined
from prealloc.library.disk import open_library_file
from prealloc.library.packed.library import PackedLibrary
from prealloc.library.packed.table import (
    MOST_TEXT,
    Columns,
    ColumnsBuilder,
    Span,
    digest,
    padding,
    sorted_positions,
)
from prealloc.library.storing.new_file import Writable, new_file
from prealloc.library.storing.tally import Tally
from prealloc.model.task import LightweightTask

FORMAT = "prealloc-pool"
VERSION = 1
MAGIC = b"prealloc-pool 1\n"
_END = b"poolend\n"
_TAIL = struct.Struct("<Q8s")
_BATCH = 4096
_AGAIN = "make it again: prealloc library convert LIBRARY tasks.pool"


class SharedTaskPool(PackedLibrary):
    """A pool file, attached: `pool[id]`, `pool.random(type)`. Any number of processes may attach to the same path.

    Each task is checked when a process reads it for the first time. Raises LibraryError for a file that is no pool, is
    damaged, or was written to since it was attached; KeyError for an id or type that is not in it. Pickles as its path
    and `keep`: whoever gets it attaches anew.
    """

    way = "pool"

    def __init__(self, path: str | Path, *, difficulty: str | None = None, keep: tuple[str, ...] = ()) -> None:
        file = Path(path)
        where = str(file)
        self._descriptor, stat = open_library_file(file)
        if stat.st_size < len(MAGIC) + _TAIL.size:
            raise LibraryError("it is no task pool", where=where, mend=_AGAIN)
        self._stamp = (stat.st_size, stat.st_mtime_ns)
        self._memory = mmap.mmap(self._descriptor, stat.st_size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
        at, end = _TAIL.unpack_from(self._memory, stat.st_size - _TAIL.size)
        if self._memory[: len(MAGIC)] != MAGIC or end != _END or not len(MAGIC) <= at <= stat.st_size - _TAIL.size:
            raise LibraryError("it is no task pool, or a part of one", where=where, mend=_AGAIN)
        columns = Columns(self._memory, FORMAT, VERSION, where, mend=_AGAIN, at=at)
        if columns.end != stat.st_size - _TAIL.size:
            raise LibraryError("its table does not end where it should", where=where, mend=_AGAIN)
        super().__init__(
            columns,
            file,
            size=stat.st_size,
            sha256=columns.head.sha256,  # of all digests, and so of all tasks
            difficulty=difficulty,
            keep=keep,
        )
        self._end = at
        self._checked = bytearray(len(columns))

    def __getitem__(self, id: str) -> LightweightTask:
        position = self.position(id)
        return self.task(position) if self.keep else self._light(position, id)

    def random(self, type: str | None = None, seed: int | None = None) -> LightweightTask:
        """A task of a type (None: of any): the same for the same seed, any without one."""
        number = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        position = self.random_position(type, number)
        return self.task(position) if self.keep else self._light(position, self.columns.id(position))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        for position in positions:
            self.refuse_out_of_range(position)
            self._check(position)
            start, length, _ = self.columns.place(position)
            yield self._memory[start : start + length]

    def close(self) -> None:
        """Lets go of the file. Tasks that were given stay as they are."""
        if not self._memory.closed:
            self.columns.release()
            self._memory.close()
        super().close()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_pool, (self.path, self.info.difficulty, self.keep)

    def refuse_unusable(self) -> None:
        # Reading past the end of a file that was cut would be fatal.
        super().refuse_unusable()
        stat = os.fstat(self._descriptor)
        if (stat.st_size, stat.st_mtime_ns) != self._stamp:
            raise LibraryError("it was written to while it was attached", where=self.info.path, mend=_AGAIN)

    def _light(self, position: int, id: str) -> LightweightTask:
        """The task with its workflow alone: its bytes are where they are, nothing is decoded."""
        start, length, workflow = self.columns.place(position)
        if not self._checked[position]:
            self._check(position)
        end = start + length - 1
        text = self._memory[end - workflow : end] if workflow else b"null"
        return LightweightTask.trusted(id, self.columns.type(position), text, b"{}")

    def _check(self, position: int) -> None:
        """Raises LibraryError unless a task's text is what was written."""
        start, length, workflow = self.columns.place(position)
        with memoryview(self._memory) as view, view[start : start + length] as text:
            if (
                start + length > self._end
                or workflow >= max(length, 1)
                or digest(text) != self.columns.digest(position)
            ):
                raise LibraryError("its content is not what was written", where=self._place(position), mend=_AGAIN)
        self._checked[position] = 1


class PoolWriter:
    """Takes tasks into a pool file, see `new_pool`."""

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._at = file.write(MAGIC)
        self._columns = ColumnsBuilder()
        self._tally = Tally()
        self._ids: list[str] = []
        self._types: list[str] = []
        self._spans: list[Span] = []

    def add(self, record: Record) -> None:
        workflow, fields = record.split()
        text = joined(workflow, fields)
        if len(text) > MOST_TEXT:
            raise LibraryError("a task is larger than 4 GB", where=ascii(record.id)[:80], mend="leave it out")
        self._file.write(text)
        span = Span(self._at, len(text), digest(text), len(workflow) if workflow is not None else 0)
        self._ids.append(record.id)
        self._types.append(record.type)
        self._spans.append(span)
        if len(self._ids) == _BATCH:
            self._add_batch()
        self._at += len(text)
        self._tally.add(record)

    def _add_batch(self) -> None:
        self._columns.add(self._ids, self._types, self._spans)
        self._ids, self._types, self._spans = [], [], []

    def finish(self) -> None:
        """Writes the table behind the tasks."""
        self._add_batch()
        self._at += self._file.write(padding(self._at))
        self._columns.sort(sorted_positions(self._columns.hash))
        counts = {"without_workflow": self._tally.without_workflow, "two_ids": self._tally.two_ids}
        for piece in self._columns.pack(FORMAT, VERSION, {}, **counts):
            self._file.write(bytes(piece))
        self._file.write(_TAIL.pack(self._at, _END))


@contextlib.contextmanager
def new_pool(out: Path, *, force: bool = False) -> Iterator[PoolWriter]:
    """A writer of a pool, which is at `out` when the block ends well. Raises InputError, CannotGoOn."""
    with new_file(out, force=force) as file:
        writer = PoolWriter(file)
        yield writer
        writer.finish()


def open_pool(path: Path, difficulty: str | None = None, keep: tuple[str, ...] = ()) -> SharedTaskPool:
    """A pool as the library of a plan."""
    return SharedTaskPool(path, difficulty=difficulty, keep=keep)
