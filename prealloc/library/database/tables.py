"""The SQLite file of a task library: its tables, how it is opened, and what SQLite's errors mean.

    meta    key, value            format, version, tasks, without_workflow, two_ids, sha256 (see packed/table.py)
    tasks   position, id, type, digest
    bodies  position, workflow_bytes, workflow, fields_bytes, fields
    texts   a view of both, for people: `sqlite3 library.db "SELECT workflow FROM texts WHERE id = 'a'"`

`workflow` is NULL where the task has none; `fields` is the task's object without it. Both are packed as `sqlar`
does. They lie in a table of their own because opening reads all ids, types and digests: were the texts beside
them, it would read most pages of the file.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from prealloc.errors import InputError, LibraryError
from prealloc.library.packed.table import Meta
from prealloc.library.storing.stored import StoredFormat
from prealloc.model.words import brief

FORMAT = StoredFormat("prealloc-library", 1, ("digest",))
APPLICATION_ID = 0x7072_6C62  # "prlb", for file(1)

TABLES = {
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
INDEX = "CREATE INDEX tasks_by_type ON tasks (type)"
VIEW = (
    "CREATE VIEW texts AS SELECT position, id, type,"
    " CAST(sqlar_uncompress(workflow, workflow_bytes) AS TEXT) AS workflow,"
    " CAST(sqlar_uncompress(fields, fields_bytes) AS TEXT) AS fields"
    " FROM tasks JOIN bodies USING (position)"
)

_MOST_META = 100


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
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


def read_meta(connection: sqlite3.Connection, where: str) -> Meta:
    """What `meta` says, once the tables are known to be ours. Raises LibraryError."""
    # A view or a virtual table of the same name is none of ours.
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name IN (?, ?, ?) LIMIT 4"
    tables, values = dict(connection.execute(query, [*TABLES])), {}
    if tables.get("meta") == TABLES["meta"]:
        values = dict(connection.execute("SELECT key, value FROM meta").fetchmany(_MOST_META))
    if values.get("format") != FORMAT.name:
        ((application_id,),) = connection.execute("PRAGMA application_id")
        if application_id == APPLICATION_ID:
            raise FORMAT.damaged("its table meta is not as prealloc makes it", where)
        raise LibraryError(
            "this is a SQLite database, but not a task library that prealloc wrote",
            where=where,
            hint="write its tasks as JSON lines, one object with id, task_type and workflow a line, and give that file",
        )
    meta = FORMAT.fields(values, Meta, where)
    if tables != TABLES:
        raise FORMAT.damaged("its tables are not as prealloc makes them", where)
    return meta


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
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
