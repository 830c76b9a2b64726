"""Task libraries in Parquet: ours, and data sets of others (Hugging Face, pandas, DuckDB) as they are.

Needs pyarrow, which `pip install 'prealloc[parquet]'` brings. This is imported when such a file is opened or made.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prealloc.errors import InputError, LibraryError
from prealloc.library.base import Add, Record
from prealloc.library.disk import FileIdentity, changed_meanwhile, open_library_file
from prealloc.library.packed.library import PackedLibrary
from prealloc.library.packed.table import ColumnsBuilder, table_of_rows
from prealloc.library.storing.boxes import filling, in_asked_order
from prealloc.library.storing.new_file import new_path
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import brief

try:
    import pyarrow as pa
    from pyarrow import ipc
    from pyarrow.parquet import ParquetFile, ParquetWriter

    from prealloc.library.parquet.rows import FORMAT, META_KEY, ForeignRows, OurRows, rows_of
except ImportError as error:
    _missing: str | None = str(error)
else:
    _missing = None

GROUP_BYTES = 4 << 20
_GROUP_ROWS = 16_384
_NAMES_AT_ONCE = 16_384
_TASKS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20
"""A column of a row group is read through a buffer of this size, and not whole."""


@contextlib.contextmanager
def new_parquet(out: Path, *, force: bool, group_bytes: int = GROUP_BYTES) -> Iterator[Add]:
    """A new Parquet file, see `LibraryFormat.new`. A row group, which is held in memory, has about `group_bytes`."""
    need_pyarrow(str(out))
    schema, tasks = OurRows.schema, ColumnsBuilder()

    def write(records: list[Record]) -> None:
        columns = dict(zip(schema.names, zip(*tasks.take_rows(records), strict=True), strict=True))
        arrow.write_table(pa.Table.from_pydict(columns, schema=schema), row_group_size=len(records))

    try:
        with (
            new_path(out, force=force) as beside,
            open(beside, "wb") as file,
            ParquetWriter(
                file,
                schema,
                compression="zstd",
                use_dictionary=["task_type"],
                write_statistics=["id", "task_type"],
                write_page_checksum=True,
                store_schema=False,
            ) as arrow,
        ):
            with filling(write, group_bytes, _GROUP_ROWS) as add:
                yield add
            arrow.add_key_value_metadata({META_KEY: FORMAT.encode(tasks.meta(FORMAT))})
    except pa.ArrowException as error:
        problem = f"it cannot be written as Parquet: {brief(error)}"
        raise InputError(problem, where=str(out), hint="choose another format") from None


class ParquetLibrary(PackedLibrary):
    """The task library in the Parquet file at a path: hashes the file, reads all ids and types.

    A file that prealloc wrote proves each task when it is read. In any other, every column is a field of the
    tasks, of which `fields` or the common names are their names; `workflow` holds JSON texts, or is nested.
    Of such a file it also counts the workflows that are missing, which reads that column.

    Raises LibraryError for a file that is not Parquet, damaged, newer, or has no JSON in what is asked for, and if
    pyarrow is not installed.
    """

    way = "parquet"

    def __init__(self, path: Path, *, keep: tuple[str, ...], fields: Fields = COMMON) -> None:
        where = str(path)
        need_pyarrow(where)
        self._starts: list[int] = []
        with open(open_library_file(path), "rb") as raw, arrow_errors(where):
            self._identity = FileIdentity.of(raw.fileno())
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
            file = _parquet(raw)
            self._rows = rows_of(file.schema_arrow, file.metadata.metadata or {}, where, fields, keep)
            names = self._rows.names(_groups(file, self._rows, self._starts), where)
            columns = table_of_rows(names, FORMAT, where, self._rows.counts)
            if not self._identity.is_of(raw.fileno()):
                raise changed_meanwhile(where)
        self._naming = naming = self._rows.naming
        self.note = naming and naming.note
        named = naming.fields if naming else COMMON
        super().__init__(columns, path, keep, size=self._identity.bytes, sha256=sha256, fields=named)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        where, naming = str(self.path), self._naming
        with open(open_library_file(self.path), "rb") as raw, arrow_errors(where):
            if not self._identity.is_of(raw.fileno()):
                raise changed_meanwhile(where)
            texts = in_asked_order(positions, self._starts, partial(self._read, _parquet(raw)))
            for position, text in zip(positions, texts, strict=True):
                # Nothing but the file, which is the same, tells whose a row of others is.
                own = naming and naming.own(text, self.ids[position], self.types[position])
                yield self._proved(position, text) if own is None else own

    def _read(self, file: Any, group: int, positions: list[int]) -> dict[int, bytes]:
        where, first = str(self.path), self._starts[group]
        found: list[bytes] = []
        for batch in _batches(file, _TASKS_AT_ONCE, row_groups=[group], columns=self._rows.columns):
            end = first + len(batch)
            wanted = positions[bisect_left(positions, first) : bisect_left(positions, end)]
            found += self._rows.read(batch, [row - first for row in wanted], where, first)
            if len(found) == len(positions):
                return dict(zip(positions, found, strict=True))
            first = end
        raise FORMAT.damaged("a row group ends too early", where)


def lines_of(path: Path, *, keep: tuple[str, ...], fields: Fields) -> Iterator[bytes]:
    """The rows of others' file as they are in it, or the tasks of one of ours. Raises LibraryError."""
    where = str(path)
    need_pyarrow(where)
    with open(open_library_file(path), "rb") as raw, arrow_errors(where):
        file = _parquet(raw)
        rows = rows_of(file.schema_arrow, file.metadata.metadata or {}, where, fields, keep)
        if isinstance(rows, ForeignRows):
            yield from rows.lines(_batches(file, _TASKS_AT_ONCE, columns=rows.columns), where)
            return
    library = ParquetLibrary(path, keep=keep)
    yield from library.texts(range(len(library)))


def lines_of_arrow(descriptor: int, where: str, fields: Fields, keep: tuple[str, ...]) -> Iterator[bytes]:
    """The same of an Arrow file or stream that is open."""
    need_pyarrow(where)
    identity = FileIdentity.of(descriptor)
    with open(os.dup(descriptor), "rb") as raw, arrow_errors(where):
        raw.seek(0)
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        reader = ipc.open_file(raw) if is_file else ipc.open_stream(raw)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        # A batch may be all of the file.
        parts = (batch.slice(at, _TASKS_AT_ONCE) for batch in batches for at in range(0, len(batch), _TASKS_AT_ONCE))
        yield from ForeignRows(reader.schema, where, fields, keep).lines(parts, where)
    if not identity.is_of(descriptor):  # what was hashed
        raise changed_meanwhile(where)


def need_pyarrow(where: str) -> None:
    if _missing is not None:
        problem, hint = f"Parquet and Arrow need pyarrow ({_missing})", "pip install 'prealloc[parquet]'"
        raise LibraryError(problem, where=where, hint=hint)


def _parquet(raw: Any) -> Any:
    return ParquetFile(raw, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _batches(file: Any, rows: int, **choice: Any) -> Iterator[Any]:
    # Without threads: the pool of pyarrow would outlive us, and a fork would inherit half of it.
    return (batch for batch in file.iter_batches(batch_size=rows, use_threads=False, **choice) if len(batch))


@contextlib.contextmanager
def arrow_errors(where: str) -> Iterator[None]:
    """What pyarrow says of a file within the block, as a LibraryError."""
    try:
        yield
    # ValueError: names and texts that are not UTF-8. KeyError: a column of two names, in the two schemas of a file.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FORMAT.damaged(f"it cannot be read: {brief(error)}", where) from None


def _groups(file: Any, rows: OurRows | ForeignRows, starts: list[int]) -> Iterator[Any]:
    """What tells the names of all tasks, batch by batch; the first rows of row groups grow on the way."""
    # Counted, not asked of file.metadata: pyarrow aborts the process where a row group is damaged.
    count = 0
    at_once = _TASKS_AT_ONCE if rows.scans_texts else _NAMES_AT_ONCE
    for group in range(file.num_row_groups):
        starts.append(count)
        for batch in _batches(file, at_once, row_groups=[group], columns=rows.scanned):
            yield batch
            count += len(batch)
