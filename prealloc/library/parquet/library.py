"""Task libraries in Parquet: ours, and data sets of others (Hugging Face, pandas, DuckDB) as they are.

Ours have the columns `id`, `task_type`, `digest` (16 bytes, see packed/table.py), `workflow` and `fields`, both JSON
texts. `workflow` is null where the task has none; `fields` is the task's object without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pyarrow import ipc
from pyarrow.parquet import ParquetFile, ParquetWriter

from prealloc.errors import InputError
from prealloc.library.base import Add, Record, joined
from prealloc.library.disk import FileIdentity, changed_meanwhile, open_library_file
from prealloc.library.new_file import new_path
from prealloc.library.packed.library import PackedLibrary, StoredNames, filling, in_asked_order, table_of_rows
from prealloc.library.packed.table import DIGEST_BYTES, ColumnsBuilder, Meta, StoredFormat
from prealloc.library.parquet.foreign import ForeignRows
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import brief

FORMAT = StoredFormat("prealloc-library-parquet", 1, ("digest",))
META_KEY = b"prealloc_library"
"""Under it stands a `Meta` as JSON, behind the format."""
GROUP_BYTES = 4 << 20

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("task_type", pa.string(), nullable=False),
        pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("workflow", pa.string()),
        pa.field("fields", pa.string(), nullable=False),
    ]
)
_GROUP_ROWS = 16_384
_NAMES_AT_ONCE = 16_384
_TASKS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20
"""A column of a row group is read through a buffer of this size, and not whole."""


@contextlib.contextmanager
def new_parquet(out: Path, *, force: bool, group_bytes: int = GROUP_BYTES) -> Iterator[Add]:
    """A new Parquet file, see `LibraryFormat.new`. A row group, which is held in memory, has about `group_bytes`."""
    tasks = ColumnsBuilder()

    def write(records: list[Record]) -> None:
        arrow.write_table(pa.table(tasks.take_rows(records), schema=_SCHEMA), row_group_size=len(records))

    try:
        with (
            new_path(out, force=force) as beside,
            open(beside, "wb") as file,
            ParquetWriter(
                file,
                _SCHEMA,
                compression="zstd",
                use_dictionary=["task_type"],
                write_statistics=["id", "task_type"],
                write_page_checksum=True,
                store_schema=False,
            ) as arrow,
        ):
            with filling(write, group_bytes, _GROUP_ROWS) as add:
                yield add
            arrow.add_key_value_metadata({META_KEY: tasks.meta(FORMAT)})
    except pa.ArrowException as error:
        problem = f"it cannot be written as Parquet: {brief(error)}"
        raise InputError(problem, where=str(out), hint="choose another format") from None


class ParquetLibrary(PackedLibrary):
    """The task library in the Parquet file at a path: hashes the file, reads all ids and types.

    A file that prealloc wrote proves each task when it is read. In any other, every column is a field of the tasks, and
    `fields` or common names say which of them hold ids and types; `workflow` holds JSON texts, or is nested. That
    column is read when such a file is opened, to count the workflows that are missing.

    Raises LibraryError for a file that is not Parquet, damaged, newer, or has no JSON in what is asked for.
    """

    way = "parquet"

    def __init__(self, path: Path, *, keep: tuple[str, ...], fields: Fields = COMMON) -> None:
        where = str(path)
        self._starts: list[int] = []
        with open(open_library_file(path), "rb") as raw, _arrow_errors(where):
            self._identity = FileIdentity.of(raw.fileno())
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
            file = _parquet(raw)
            self._rows = _rows_of(file, where, fields, keep)
            columns = table_of_rows(self._rows.names(self._groups(file)), FORMAT, where, self._rows.counts)
            if not self._identity.is_of(raw.fileno()):
                raise changed_meanwhile(where)
        naming = self._rows.naming
        self.note = naming and naming.note
        named = naming.fields if naming else COMMON
        super().__init__(columns, path, keep, size=self._identity.bytes, sha256=sha256, fields=named)

    def _groups(self, file: Any) -> Iterator[Any]:
        """What tells the names of all tasks, batch by batch; the first rows of row groups become known on the way."""
        # Counted, not asked of file.metadata: pyarrow aborts the process where a row group is damaged.
        count = 0
        at_once = _TASKS_AT_ONCE if self._rows.scans_texts else _NAMES_AT_ONCE
        for group in range(file.num_row_groups):
            self._starts.append(count)
            for batch in _batches(file, at_once, row_groups=[group], columns=self._rows.scanned):
                yield batch
                count += len(batch)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        where, naming = str(self.path), self._rows.naming
        with open(open_library_file(self.path), "rb") as raw, _arrow_errors(where):
            if not self._identity.is_of(raw.fileno()):
                raise changed_meanwhile(where)
            texts = in_asked_order(positions, self._starts, partial(self._read, _parquet(raw)))
            for position, text in zip(positions, texts, strict=True):
                if naming is None:
                    yield self._proved(position, text)
                else:  # nothing but the file, which is the same, tells whose a row of others is
                    yield naming.own(text, self.ids[position], self.types[position])

    def _read(self, file: Any, group: int, positions: list[int]) -> Iterator[bytes]:
        first = self._starts[group]
        for batch in _batches(file, _TASKS_AT_ONCE, row_groups=[group], columns=self._rows.columns):
            end = first + len(batch)
            wanted = positions[bisect_left(positions, first) : bisect_left(positions, end)]
            yield from self._rows.read(batch, [row - first for row in wanted], first)
            if positions[-1] < end:
                return
            first = end
        raise FORMAT.damaged("a row group ends too early", str(self.path))


class _OurRows:
    """The rows of a file that prealloc wrote, to be read as `ForeignRows` are."""

    scanned: ClassVar = ["id", "task_type", "digest"]
    """The columns that tell whose the rows are."""
    scans_texts = False
    columns: ClassVar = ["workflow", "fields"]
    """What is read of a task."""
    naming = None

    def __init__(self, meta: Meta) -> None:
        self.counts = meta

    def names(self, batches: Iterator[Any]) -> Iterator[StoredNames]:
        for batch in batches:
            ids, types, digests = (batch.column(name).to_pylist() for name in self.scanned)
            yield ids, types, digests

    def read(self, batch: Any, rows: Iterable[int], first: int) -> Iterator[bytes]:
        # As bytes: a damaged text may not be UTF-8, and the digest is of bytes anyway.
        columns = [batch.column(name).cast(pa.binary()) for name in self.columns]
        for row in rows:
            workflow, rest = (column[row].as_py() for column in columns)
            yield joined(workflow, rest or b"")


def _rows_of(file: Any, where: str, asked: Fields, keep: tuple[str, ...]) -> _OurRows | ForeignRows:
    """How tasks lie in a file. Raises LibraryError."""
    raw = (file.metadata.metadata or {}).get(META_KEY)
    ours = file.schema_arrow.equals(_SCHEMA, check_metadata=False)
    if raw is None and not ours:
        return ForeignRows(file.schema_arrow, where, asked, keep)
    if raw is None:
        raise FORMAT.damaged("what prealloc writes about its tasks is missing", where)
    meta = FORMAT.decode(raw, Meta, where)
    if not ours:
        raise FORMAT.damaged("its columns are not as prealloc writes them", where)
    return _OurRows(meta)


def lines_of(path: Path, *, keep: tuple[str, ...], fields: Fields) -> Iterator[bytes]:
    """The rows of others' file as they are in it, or the tasks of one of ours. Raises LibraryError."""
    where = str(path)
    with open(open_library_file(path), "rb") as raw, _arrow_errors(where):
        file = _parquet(raw)
        rows = _rows_of(file, where, fields, keep)
        if isinstance(rows, ForeignRows):
            yield from rows.lines(_batches(file, _TASKS_AT_ONCE, columns=rows.columns))
            return
    library = ParquetLibrary(path, keep=keep)
    yield from library.texts(range(len(library)))


def lines_of_arrow(descriptor: int, where: str, fields: Fields, keep: tuple[str, ...]) -> Iterator[bytes]:
    """The same of an Arrow file or stream that is open."""
    identity = FileIdentity.of(descriptor)
    with open(os.dup(descriptor), "rb") as raw, _arrow_errors(where):
        raw.seek(0)
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        reader = ipc.open_file(raw) if is_file else ipc.open_stream(raw)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        # A batch may be all of the file.
        parts = (batch.slice(at, _TASKS_AT_ONCE) for batch in batches for at in range(0, len(batch), _TASKS_AT_ONCE))
        yield from ForeignRows(reader.schema, where, fields, keep).lines(parts)
    if not identity.is_of(descriptor):  # what was hashed
        raise changed_meanwhile(where)


def _parquet(raw: Any) -> Any:
    return ParquetFile(raw, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _batches(file: Any, rows: int, **choice: Any) -> Iterator[Any]:
    # Without threads: the pool of pyarrow would outlive us, and a fork would inherit half of it.
    return (batch for batch in file.iter_batches(batch_size=rows, use_threads=False, **choice) if len(batch))


@contextlib.contextmanager
def _arrow_errors(where: str) -> Iterator[None]:
    """What pyarrow says of a file within the block, as a LibraryError."""
    try:
        yield
    # ValueError: names and texts that are not UTF-8. KeyError: a column of two names, in the two schemas of a file.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FORMAT.damaged(f"it cannot be read: {brief(error)}", where) from None
