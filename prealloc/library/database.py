"""Task libraries in SQLite: any task with one look-up, and the plain `sqlite3` shell can read them.

    meta    key, value            format, version, tasks, without_workflow, two_ids, sha256 (see packed/table.py)
    tasks   position, id, type, digest
    bodies  position, workflow_bytes, workflow, fields_bytes, fields
    texts   a view of both, for people: `sqlite3 library.db "SELECT workflow FROM texts WHERE id = 'a'"`

`workflow` is NULL where the task has none; `fields` is the task's object without it. Both are packed as SQLite's
archives are (sqlite.org/sqlar.html), so that `sqlar_uncompress(blob, bytes)` shows them. They lie in a table of their
own because opening reads all ids, types and digests: were the texts beside them, it would read most pages of the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import InputError, LibraryError
from prealloc.library.base import Add, Record, joined
from prealloc.library.disk import open_library_file
from prealloc.library.new_file import new_path
from prealloc.library.packed.library import PackedLibrary, StoredNames, filling, table_of_rows
from prealloc.library.packed.table import ColumnsBuilder, Meta, StoredFormat
from prealloc.model.words import brief

FORMAT = StoredFormat("prealloc-library", 1, ("digest",))
MOST_BYTES = 1_000_000_000
"""The longest text: what SQLite itself allows in a row, unless it was built for more."""

_APPLICATION_ID = 0x7072_6C62  # "prlb", for file(1)
_TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value NOT NULL)",
    "tasks": (
        "CREATE TABLE tasks (position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL,"
        " digest BLOB NOT NULL)"
    ),
    "bodies": (
        "CREATE TABLE bodies (position INTEGER PRIMARY KEY, workflow_bytes INTEGER, workflow BLOB,"
        " fields_bytes INTEGER NOT NULL, fields BLOB NOT NULL)"
    ),
}
_INDEX = "CREATE INDEX tasks_by_type ON tasks (type)"
_VIEW = (
    "CREATE VIEW texts AS SELECT position, id, type,"
    " CAST(sqlar_uncompress(workflow, workflow_bytes) AS TEXT) AS workflow,"
    " CAST(sqlar_uncompress(fields, fields_bytes) AS TEXT) AS fields"
    " FROM tasks JOIN bodies USING (position)"
)
_MOST_META = 100
_ROWS_AT_ONCE = 16_384
_BYTES_AT_ONCE = 1 << 16


@contextlib.contextmanager
def new_database(out: Path, *, force: bool) -> Iterator[Add]:
    """A new SQLite file, see `LibraryFormat.new`.

    What it gives raises LibraryError for a text that is too large for SQLite, and the end of the block for an id that
    is there twice: until then who knows the source can tell where.
    """
    columns = ColumnsBuilder()
    with (
        new_path(out, force=force) as beside,
        _writing_to(out),
        contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as connection,
    ):
        # Without a journal: until it is whole, no reader knows this file.
        unsafe = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF")
        ours = f"PRAGMA application_id = {_APPLICATION_ID}"
        for statement in (*unsafe, ours, "BEGIN", *_TABLES.values()):
            connection.execute(statement)

        def write(records: list[Record]) -> None:
            positions = range(len(columns.hash), len(columns.hash) + len(records))
            rows = zip(positions, *columns.take_rows(records), strict=True)
            for position, id, type, proof, workflow, fields in rows:
                connection.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?)", (position, id, type, proof))
                flow = (None, None) if workflow is None else (len(workflow), sqlar_pack(workflow))
                body = (position, *flow, len(fields), sqlar_pack(fields))
                connection.execute("INSERT INTO bodies VALUES (?, ?, ?, ?, ?)", body)

        with filling(write, _BYTES_AT_ONCE) as add:
            yield add
        columns.finish(str(out))
        said = msgspec.json.decode(columns.meta(FORMAT))
        connection.executemany("INSERT INTO meta VALUES (?, ?)", said.items())
        # At the end: an index that grows with every task costs more than sorting once.
        for statement in (_INDEX, _VIEW, "COMMIT"):
            connection.execute(statement)


@contextlib.contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """What SQLite says within the block as an error of the file `out`: a full disk is an OSError, as elsewhere."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise OSError(errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO, str(error)) from error
        if code == sqlite3.SQLITE_TOOBIG or isinstance(error, OverflowError | sqlite3.DataError):
            raise LibraryError(
                "a task is too large for SQLite, which ends at a billion bytes",
                where=str(out),
                hint="choose another format, or leave the task out",
            ) from None
        raise InputError(f"SQLite cannot write it: {error}", where=str(out), hint="write it to another disk") from error


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
        with _reading(path) as connection:
            meta = _read_meta(connection, where)
            # Kept, not read again with the texts: whatever is at the path then must be what was opened.
            columns = table_of_rows(_rows(connection, where), FORMAT, where, meta)
        super().__init__(columns, path, keep, size=size)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        # One look-up a task with one prepared statement, rather than many tasks at once: about as fast, and
        # never more than one task in memory.
        with _reading(self.path) as connection:
            for position in positions:
                row = connection.execute(
                    "SELECT workflow, workflow_bytes, fields, fields_bytes FROM bodies WHERE position = ?", (position,)
                ).fetchone()
                yield self._proved(position, self._text(position, row))

    def _text(self, position: int, row: tuple[object, ...] | None) -> bytes:
        try:
            workflow, workflow_bytes, fields, fields_bytes = row or (None, None, None, None)
            flow = None if workflow is None and workflow_bytes is None else sqlar_unpack(workflow, workflow_bytes)
            return joined(flow, sqlar_unpack(fields, fields_bytes))
        except ValueError as error:
            raise FORMAT.damaged(f"the task's text cannot be unpacked: {error}", self._place(position)) from None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The database at `path`, which must be there; read only. What SQLite says within the block is a LibraryError."""
    try:
        # Immutable: no lock and no journal beside it is looked for. Should it change all the same, digests tell.
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
        ) as connection:
            # The schema is data from a file: no function of it may run, no page of it is believed unseen, and
            # no part of the file is mapped, since another process could cut it off under us.
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON", "mmap_size = 0"):
                connection.execute(f"PRAGMA {pragma}")
            yield connection
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise FORMAT.damaged(f"SQLite cannot read it ({brief(error)})", str(path)) from None


def _read_meta(connection: sqlite3.Connection, where: str) -> Meta:
    """What `meta` says, once the tables are known to be ours. Raises LibraryError."""
    # A view or a virtual table of the same name is none of ours.
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name IN (?, ?, ?) LIMIT 4"
    tables, values = dict(connection.execute(query, [*_TABLES])), {}
    if tables.get("meta") == _TABLES["meta"]:
        values = dict(connection.execute("SELECT key, value FROM meta").fetchmany(_MOST_META))
    if values.get("format") != FORMAT.name:
        ((application_id,),) = connection.execute("PRAGMA application_id")
        if application_id == _APPLICATION_ID:
            raise FORMAT.damaged("its table meta is not as prealloc makes it", where)
        raise LibraryError(
            "this is a SQLite database, but not a task library that prealloc wrote",
            where=where,
            hint="write its tasks as JSON lines, one object with id, task_type and workflow a line, and give that file",
        )
    meta = FORMAT.fields(values, Meta, where)
    if tables != _TABLES:
        raise FORMAT.damaged("its tables are not as prealloc makes them", where)
    return meta


def _rows(connection: sqlite3.Connection, where: str) -> Iterator[StoredNames]:
    """Ids, types and digests, some at a time."""
    # Position by position: a damaged tree that leads to the same page again and again ends at its second visit.
    first, rows = 0, connection.execute("SELECT position, id, type, digest FROM tasks ORDER BY position")
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        positions, ids, types, digests = zip(*some, strict=True)
        if positions != (*range(first, first + len(some)),) or {*map(type, digests)} != {bytes}:
            raise FORMAT.damaged("its table tasks is damaged", where)
        yield ids, types, digests
        first += len(some)


def sqlar_pack(text: bytes) -> bytes:
    """The text in zlib's format, or as it is where that is not smaller: a blob as long as the text is the text."""
    packed = zlib.compress(text)
    return packed if len(packed) < len(text) else text


def sqlar_unpack(blob: object, size: object) -> bytes:
    """The text of `size` bytes in the blob. Raises ValueError. Never makes more than `size` + 1 bytes."""
    if not isinstance(blob, bytes) or not isinstance(size, int):
        raise ValueError("it is not a blob with a size")
    if len(blob) == size:
        return blob
    if not len(blob) < size <= MOST_BYTES:
        raise ValueError(f"{len(blob):,} bytes cannot hold {size:,}")
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(blob, size + 1)
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from None
    if len(text) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"it does not unpack to {size:,} bytes")
    return text
