"""Task libraries in SQLite: any task with one look-up, and the plain `sqlite3` shell can read them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.base import Add, Library, Record, info_of, joined
from prealloc.library.database import tables as file
from prealloc.library.database.sqlar import pack, unpack
from prealloc.library.database.tables import FORMAT
from prealloc.library.disk import open_library_file
from prealloc.library.storing.new_file import new_path
from prealloc.library.storing.stored import DIGEST_BYTES, Fingerprint, StoredRow, checked_names, digest
from prealloc.model.words import shown


@contextlib.contextmanager
def new_database(out: Path, *, force: bool) -> Iterator[Add]:
    """A new SQLite file, see `LibraryFormat.new`.

    What it gives raises LibraryError for a text that is too large for SQLite, and the end of the block for an id that
    is there twice: until then who knows the source can tell where.
    """
    fingerprint, twice = Fingerprint(), list[str]()
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

        def add(record: Record) -> None:
            position = fingerprint.counts.tasks
            proof, workflow, fields = fingerprint.seal(record)
            task = (position, record.id, record.type, proof)
            if not connection.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?)", task).rowcount:
                twice.append(record.id)
            flow = (None, None) if workflow is None else (len(workflow), pack(workflow))
            body = (position, *flow, len(fields), pack(fields))
            connection.execute("INSERT INTO bodies VALUES (?, ?, ?, ?, ?)", body)

        yield add
        if twice:
            problem = f"several tasks have the id {shown(twice[0])}"
            raise LibraryError(problem, where=str(out), hint="give every task an id of its own")
        said = {"format": FORMAT.name, "version": FORMAT.version, **msgspec.structs.asdict(fingerprint.meta())}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", said.items())
        # At the end: an index that grows with every task costs more than sorting once.
        for statement in (file.INDEX, file.VIEW, "COMMIT"):
            connection.execute(statement)


class DatabaseLibrary(Library):
    """The task library in the SQLite file at a path: reads all ids, types and digests, and no workflow.

    `info.sha256` is the fingerprint of the content, which is proved here, but for the texts: each of them is
    proved when it is read. Raises LibraryError for a file that is not ours, newer, damaged or cannot be read.
    """

    way = "database"

    def __init__(self, path: Path, *, keep: tuple[str, ...]) -> None:
        where = str(path)
        with open(open_library_file(path), "rb") as raw:  # SQLite would wait for a FIFO
            size = os.fstat(raw.fileno()).st_size
        self._file = path
        # Kept, not read again with the texts: whatever is at the path then must be what was opened.
        self._digests = bytearray()
        with file.reading(path) as connection:
            meta = file.read_meta(connection, where)
            rows = _rows(connection, self._digests, where)
            ids, types = checked_names(rows, FORMAT, where=where, row="task", meta=meta)
        info = info_of(path, size=size, sha256=meta.sha256, types=Counter(types))
        super().__init__(info, ids, types, meta, keep)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        # One look-up a task with one prepared statement, rather than many tasks at once: about as fast, and
        # never more than one task in memory.
        with file.reading(self._file) as connection:
            for position in positions:
                row = connection.execute(
                    "SELECT workflow, workflow_bytes, fields, fields_bytes FROM bodies WHERE position = ?", (position,)
                ).fetchone()
                if row is None:
                    raise FORMAT.damaged("the task's text is missing", self._place(position))
                yield self._proved(position, row)

    def _proved(self, position: int, row: tuple[object, ...]) -> bytes:
        workflow, workflow_bytes, fields, fields_bytes = row
        try:
            flow = None if workflow is None and workflow_bytes is None else unpack(workflow, workflow_bytes)
            rest = unpack(fields, fields_bytes)
        except ValueError as error:
            raise FORMAT.damaged(f"the task's text cannot be unpacked: {error}", self._place(position)) from None
        start = position * DIGEST_BYTES
        if digest(self.ids[position], self.types[position], flow, rest) != self._digests[start : start + DIGEST_BYTES]:
            raise FORMAT.damaged("the task's text is not what was written", self._place(position))
        return joined(flow, rest)


def _rows(connection: sqlite3.Connection, digests: bytearray, where: str) -> Iterator[StoredRow]:
    """Id, type and digest of each task; all digests are gathered on the way."""
    # Position by position: a damaged tree that leads to the same page again and again ends at its second visit.
    rows = connection.execute("SELECT position, id, type, digest FROM tasks ORDER BY position")
    for expected, (position, id, type, proof) in enumerate(rows):
        if position != expected or not isinstance(proof, bytes) or len(proof) != DIGEST_BYTES:
            raise FORMAT.damaged("its table tasks is damaged", f"{where}, task {expected}")
        digests += proof
        yield id, type, proof
