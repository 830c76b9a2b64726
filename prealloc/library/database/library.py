"""Task libraries in SQLite: any task with one look-up, and the plain `sqlite3` shell can read them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.base import Record, StoredLibrary, joined, told
from prealloc.library.database import tables as file
from prealloc.library.database.sqlar import CannotUnpack, pack, unpack
from prealloc.library.storing.names import checked_names
from prealloc.library.storing.new_path import new_path
from prealloc.library.storing.proof import DIGEST_BYTES, Fingerprint, digest
from prealloc.library.storing.stored_file import opened
from prealloc.library.storing.tally import Tally
from prealloc.model.plan import LibraryInfo

_NAMES_MEND = "give every task an id and a type when the library is made"


def open_database(path: Path, *, difficulty: str | None, keep: tuple[str, ...]) -> StoredLibrary:
    """The task library in the SQLite file at `path`: reads all ids, types and digests, and no workflow.

    `info.sha256` is the fingerprint of the content, which is proved here, but for the texts: each of them is
    proved when it is read. Raises LibraryError for a file that is not ours, newer, damaged or cannot be read.
    """
    where = str(path)
    with opened(path) as (head, stamp):
        if head.read(len(file.MAGIC)) != file.MAGIC:
            raise LibraryError("this is no SQLite database", where=where, mend="check the path, or copy it again")
    with file.reading(path) as connection:
        meta = file.read_meta(connection, where)
        digests = bytearray()
        fingerprint = Fingerprint()
        pairs = _pairs(connection, fingerprint, digests, where)
        ids, types = checked_names(pairs, where=where, row="task", mend=_NAMES_MEND)
    if meta.tasks != len(ids) or meta.sha256 != _sealed(fingerprint, meta):
        raise file.damaged("its tasks are not those that were written", where)
    path_told, name = told(path)
    info = LibraryInfo(
        path=path_told,
        name=name,
        bytes=stamp.bytes,
        sha256=meta.sha256,
        tasks=len(ids),
        types=dict(sorted(Counter(types).items())),
        difficulty=difficulty,
    )
    return DatabaseLibrary(path, bytes(digests), meta, info, ids, types, keep)


@contextlib.contextmanager
def new_database(out: Path, *, force: bool) -> Iterator[DatabaseWriter]:
    """Takes tasks into a new SQLite file, which is at `out` if the block ends well; else nothing is left of it.

    Raises InputError if `out` is there (unless `force`) or cannot be made, CannotGoOn if the disk is full. `add`
    raises LibraryError for a text that is too large for SQLite, and the end of the block for an id that is there
    twice: until then who knows the source can tell where.
    """
    with new_path(out, force=force) as beside, contextlib.closing(file.connect_new(beside, out)) as connection:
        writer = DatabaseWriter(connection, out)
        yield writer
        writer.finish()


class DatabaseWriter:
    """See `new_database`."""

    def __init__(self, connection: sqlite3.Connection, out: Path) -> None:
        self._connection = connection
        self._out = out
        self._tally = Tally()
        self._fingerprint = Fingerprint()
        self._twice: LibraryError | None = None
        with file.writing_to(out):
            # Without a journal: until it is whole, nobody knows this file.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", f"application_id = {file.APPLICATION_ID}"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            for statement in file.TABLES.values():
                connection.execute(statement)

    def add(self, record: Record) -> None:
        workflow, fields = record.split()
        proof = digest(record.id, record.type, workflow, fields)
        position = self._tally.tasks
        with file.writing_to(self._out):
            try:
                self._connection.execute(
                    "INSERT INTO tasks VALUES (?, ?, ?, ?)", (position, record.id, record.type, proof)
                )
            except sqlite3.IntegrityError:
                self._twice = self._twice or LibraryError(
                    f"two tasks have the id {ascii(record.id)[:80]}",
                    where=f"{self._out}, task {position}",
                    mend="give every task an id of its own",
                )
                return
            self._connection.execute(
                "INSERT INTO bodies VALUES (?, ?, ?, ?, ?)",
                (
                    position,
                    None if workflow is None else len(workflow),
                    None if workflow is None else pack(workflow),
                    len(fields),
                    pack(fields),
                ),
            )
        self._tally.add(record)
        self._fingerprint.add(record.id, record.type, proof)

    def finish(self) -> None:
        if self._twice is not None:
            raise self._twice
        counts = {name: getattr(self._tally, name) for name in ("tasks", "without_workflow", "two_ids")}
        meta = file.Meta(**counts, sha256=self._fingerprint.sealed(**counts))
        with file.writing_to(self._out):
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", msgspec.structs.asdict(meta).items())
            # At the end: an index that grows with every task costs more than sorting once.
            self._connection.execute(file.INDEX)
            self._connection.execute(file.VIEW)
            self._connection.execute("COMMIT")


class DatabaseLibrary(StoredLibrary):
    way = "database"

    def __init__(
        self,
        path: Path,
        digests: bytes,
        meta: file.Meta,
        info: LibraryInfo,
        ids: Sequence[str],
        types: Sequence[str],
        keep: tuple[str, ...],
    ) -> None:
        super().__init__(
            info=info,
            ids=ids,
            types=types,
            without_workflow=meta.without_workflow,
            two_ids=meta.two_ids,
            keep=keep,
        )
        self._file = path
        # Kept, not read again with the texts: whatever is at the path then must be what was opened.
        self._digests = digests

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        # One look-up a task with one prepared statement, rather than many tasks at once: about as fast, and
        # never more than one task in memory.
        with file.reading(self._file) as connection:
            for position in positions:
                row = connection.execute(
                    "SELECT workflow, workflow_bytes, fields, fields_bytes FROM bodies WHERE position = ?", (position,)
                ).fetchone()
                if row is None:
                    raise file.damaged("the task's text is missing", self._place(position))
                yield self._proved(position, *row)

    def _proved(
        self, position: int, workflow: object, workflow_bytes: object, fields: object, fields_bytes: object
    ) -> bytes:
        try:
            flow = None if workflow is None and workflow_bytes is None else _unpacked(workflow, workflow_bytes)
            rest = _unpacked(fields, fields_bytes)
        except CannotUnpack as error:
            raise file.damaged(f"the task's text cannot be unpacked: {error}", self._place(position)) from None
        start = position * DIGEST_BYTES
        if digest(self.ids[position], self.types[position], flow, rest) != self._digests[start : start + DIGEST_BYTES]:
            raise file.damaged("the task's text is not what was written", self._place(position))
        return joined(flow, rest)


def _pairs(
    connection: sqlite3.Connection, fingerprint: Fingerprint, digests: bytearray, where: str
) -> Iterator[tuple[str, str]]:
    """Id and type of each task; fingerprint and digests grow on the way."""
    # Position by position: a damaged tree that leads to the same page again and again ends at its second visit.
    rows = connection.execute("SELECT position, id, type, digest FROM tasks ORDER BY position")
    for expected, (position, id, type, proof) in enumerate(rows):
        if position != expected or not isinstance(proof, bytes) or len(proof) != DIGEST_BYTES:
            raise file.damaged("its table tasks is damaged", f"{where}, task {expected}")
        if isinstance(id, str) and isinstance(type, str):
            fingerprint.add(id, type, proof)
        digests += proof
        yield id, type


def _sealed(fingerprint: Fingerprint, meta: file.Meta) -> str | None:
    """The fingerprint with these counts; None if they cannot be counts."""
    counts = (meta.tasks, meta.without_workflow, meta.two_ids)
    if not all(0 <= count <= meta.tasks for count in counts):
        return None
    return fingerprint.sealed(tasks=meta.tasks, without_workflow=meta.without_workflow, two_ids=meta.two_ids)


def _unpacked(blob: object, size: object) -> bytes:
    if not isinstance(blob, bytes) or not isinstance(size, int):
        raise CannotUnpack("it is no blob with a size")
    return unpack(blob, size)
