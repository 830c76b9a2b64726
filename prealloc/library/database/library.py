"""Task libraries in SQLite: any task with one look-up, and the plain `sqlite3` shell can read them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.library.base import Add, Record, joined
from prealloc.library.database import tables as file
from prealloc.library.database.sqlar import pack, unpack
from prealloc.library.database.tables import FORMAT
from prealloc.library.disk import open_library_file
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.packed.library import PackedLibrary
from prealloc.library.packed.table import ColumnsBuilder, StoredNames, table_of_rows
from prealloc.library.storing.boxes import filling
from prealloc.library.storing.new_file import new_path

_AT_ONCE = 16_384
_BYTES_AT_ONCE = 1 << 16


@contextlib.contextmanager
def new_database(out: Path, *, force: bool) -> Iterator[Add]:
    """A new SQLite file, see `LibraryFormat.new`.

    What it gives raises LibraryError for a text that is too large for SQLite, and the end of the block for an id that
    is there twice: until then who knows the source can tell where.
    """
    columns, twice = ColumnsBuilder(), False
    with (
        new_path(out, force=force) as beside,
        file.writing_to(out),
        contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as connection,
    ):
        # Without a journal: until it is whole, no reader knows this file.
        unsafe = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF")
        ours = f"PRAGMA application_id = {file.APPLICATION_ID}"
        for statement in (*unsafe, ours, "BEGIN", *file.TABLES.values()):
            connection.execute(statement)

        def write(records: list[Record]) -> None:
            nonlocal twice
            rows = enumerate(columns.take_rows(records), len(columns.hash))
            for position, (id, type, proof, workflow, fields) in rows:
                task = (position, id, type, proof)
                twice |= not connection.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?)", task).rowcount
                flow = (None, None) if workflow is None else (len(workflow), pack(workflow))
                body = (position, *flow, len(fields), pack(fields))
                connection.execute("INSERT INTO bodies VALUES (?, ?, ?, ?, ?)", body)

        with filling(write, _BYTES_AT_ONCE) as add:
            yield add
        if twice:
            refuse_duplicates_among(columns.hash, columns.id, str(out))
        said = {"format": FORMAT.name, "version": FORMAT.version, **msgspec.structs.asdict(columns.meta(FORMAT))}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", said.items())
        # At the end: an index that grows with every task costs more than sorting once.
        for statement in (file.INDEX, file.VIEW, "COMMIT"):
            connection.execute(statement)


class DatabaseLibrary(PackedLibrary):
    """The task library in the SQLite file at a path: reads all ids, types and digests, and no workflow.

    `info.sha256` is that of its table. Raises LibraryError for a file that is not ours, newer, damaged or cannot be
    read.
    """

    way = "database"

    def __init__(self, path: Path, *, keep: tuple[str, ...]) -> None:
        where = str(path)
        with open(open_library_file(path), "rb") as raw:  # SQLite would wait for a FIFO
            size = os.fstat(raw.fileno()).st_size
        with file.reading(path) as connection:
            meta = file.read_meta(connection, where)
            # Kept, not read again with the texts: whatever is at the path then must be what was opened.
            columns = table_of_rows(_rows(connection, where), FORMAT, where, meta)
        super().__init__(columns, path, keep, size=size)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        # One look-up a task with one prepared statement, rather than many tasks at once: about as fast, and
        # never more than one task in memory.
        with file.reading(self.path) as connection:
            for position in positions:
                row = connection.execute(
                    "SELECT workflow, workflow_bytes, fields, fields_bytes FROM bodies WHERE position = ?", (position,)
                ).fetchone()
                yield self._proved(position, self._text(position, row))

    def _text(self, position: int, row: tuple[object, ...] | None) -> bytes:
        try:
            workflow, workflow_bytes, fields, fields_bytes = row or (None, None, None, None)
            flow = None if workflow is None and workflow_bytes is None else unpack(workflow, workflow_bytes)
            return joined(flow, unpack(fields, fields_bytes))
        except ValueError as error:
            raise FORMAT.damaged(f"the task's text cannot be unpacked: {error}", self._place(position)) from None


def _rows(connection: sqlite3.Connection, where: str) -> Iterator[StoredNames]:
    """Ids, types and digests, some at a time."""
    # Position by position: a damaged tree that leads to the same page again and again ends at its second visit.
    first, rows = 0, connection.execute("SELECT position, id, type, digest FROM tasks ORDER BY position")
    while some := rows.fetchmany(_AT_ONCE):
        positions, ids, types, digests = zip(*some, strict=True)
        if positions != (*range(first, first + len(some)),) or {*map(type, digests)} != {bytes}:
            raise FORMAT.damaged("its table tasks is damaged", where)
        yield ids, types, digests
        first += len(some)
