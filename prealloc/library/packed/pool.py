"""A task pool: one read-only file that any number of processes map into memory, and share.

What a process reads of it are pages of the system's file cache: there once, however many read them, and nothing of
them is written to, as reference counts would be in objects shared by a fork. It is a file like any other, so that
nothing is left in memory when its readers are gone or killed.

    16 bytes       "prealloc-pool 1\\n"
    tasks          the compact object of each, its workflow last, one behind the other
    a packed table (table.py), which says where
    16 bytes       where the table begins (u64, little-endian), and "poolend\\n"

A pool must not be written to while it is attached: make a new one, which takes the old one's place in one step. Readers
check its size and time of change before every read, and refuse a pool that was written to. Only if it is cut off during
a read, the system ends the reader with SIGBUS, as with every mapped file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prealloc.library.base import Add, Record, joined
from prealloc.library.disk import FileIdentity, open_library_file
from prealloc.library.new_file import new_file
from prealloc.library.packed.library import HeldLibrary
from prealloc.library.packed.table import Columns, ColumnsBuilder, Head, StoredFormat, digest
from prealloc.model.task import LightweightTask

COLUMNS = ("start", "length", "workflow", "digest", "order")
FORMAT = StoredFormat("prealloc-pool", 1, COLUMNS, "make it again: prealloc library convert LIBRARY tasks.pool")
MAGIC = b"prealloc-pool 1\n"
_END = b"poolend\n"
_TAIL = struct.Struct("<Q8s")


class SharedTaskPool(HeldLibrary):
    """A pool file, attached: `pool[id]`, `pool.random(type)`. Any number of processes may attach to the same path.

    Each task is checked when a process reads it for the first time. Raises LibraryError for a file that is not a pool,
    is damaged, or was written to since it was attached; KeyError for an id or type that is not in it. Pickles as its
    path and `keep`: unpickling attaches again.
    """

    way = "pool"

    def __init__(self, path: str | Path, *, keep: tuple[str, ...] = ()) -> None:
        file = Path(path)
        where = str(file)
        self._hold(open_library_file(file))
        self._identity = FileIdentity.of(self._descriptor)
        size = self._identity.bytes
        tail = size - _TAIL.size
        if tail < len(MAGIC):
            raise FORMAT.damaged("it is not a task pool", where)
        self._memory = mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
        at, end = _TAIL.unpack_from(self._memory, tail)
        if self._memory[: len(MAGIC)] != MAGIC or end != _END or not len(MAGIC) <= at <= tail:
            raise FORMAT.damaged("it is not a task pool, or only a part of one", where)
        columns = Columns.read(self._memory, FORMAT, where, Head[None], at=at, end=tail)
        super().__init__(columns, file, keep, size=size)
        self._end = at
        self._is_checked = bytearray(len(self))

    def __getitem__(self, id: str) -> LightweightTask:
        return self._read(self.position(id))

    def random(self, type: str | None = None, seed: int | None = None) -> LightweightTask:
        """A task of a type (None: of any): the same for the same seed, any without one."""
        number = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        return self._read(self.random_position(type, number))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        for position in positions:
            self.refuse_unusable()
            start, length = self._checked(position)
            yield self._memory[start : start + length]

    def close(self) -> None:
        """Lets go of the file. Tasks that were given stay as they are."""
        self.columns.views.close()
        self._memory.close()
        super().close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(SharedTaskPool, keep=self._keep), (self.path,)

    def refuse_unusable(self) -> None:
        # Reading past the end of a file that was cut would be fatal.
        super().refuse_unusable()
        if not self._identity.is_of(self._descriptor):
            raise FORMAT.damaged("it was written to while it was attached", self.info.path)

    def _read(self, position: int) -> LightweightTask:
        """The task. Nothing is decoded unless fields are kept: the workflow is a range of bytes."""
        if self._keep:
            return self.task(position)
        start, length = self._checked(position)
        end, workflow = start + length - 1, self.columns.workflow[position]
        text = self._memory[end - workflow : end] if workflow else b"null"
        return LightweightTask.trusted(self.columns.id(position), self.columns.type(position), text, b"{}")

    def _checked(self, position: int) -> tuple[int, int]:
        """`columns.place` of a task, whose text is proved the first time in this process. Raises LibraryError."""
        start, length = place = self.columns.place(position)
        if not self._is_checked[position]:
            if self.columns.workflow[position] >= max(length, 1):
                raise FORMAT.damaged(self._unlike, self._place(position))
            with memoryview(self._memory) as view, view[start : min(start + length, self._end)] as text:
                self._proved(position, text)
            self._is_checked[position] = 1
        return place


@contextlib.contextmanager
def new_pool(out: Path, *, force: bool = False) -> Iterator[Add]:
    """A new pool, see `LibraryFormat.new`."""
    columns = ColumnsBuilder()
    with new_file(out, force=force) as write:
        at = write(MAGIC)

        def add(record: Record) -> None:
            nonlocal at
            workflow, fields = record.split()
            text = joined(workflow, fields)
            flow = len(workflow or b"")
            columns.take([record], [digest(text)], start=[at], length=[len(text)], workflow=[flow])
            at += write(text)

        yield add
        columns.finish(str(out))
        head, pieces = columns.pack(FORMAT, None)
        for piece in (head.line(FORMAT), *pieces, _TAIL.pack(at, _END)):
            write(bytes(piece))
