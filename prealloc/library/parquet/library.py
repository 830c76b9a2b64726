"""Task libraries in Parquet: ours, and data sets of others (Hugging Face, pandas, DuckDB) as they are.

Needs pyarrow, which `pip install 'prealloc[parquet]'` brings. It is imported when such a file is opened or made.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import InputError, LibraryError
from prealloc.library.base import Facts, Library, Record, info_of
from prealloc.library.disk import FileIdentity, open_library_file, sha256_of
from prealloc.library.naming import Column, Naming, info_with
from prealloc.library.parquet.columns import stored
from prealloc.library.parquet.rows import FORMAT, META_KEY, VERSION_KEY, ForeignRows, Named, OurRows, rows_of
from prealloc.library.storing.boxes import in_asked_order
from prealloc.library.storing.new_file import new_path
from prealloc.library.storing.stored import Counts, Fingerprint, checked_names, digest
from prealloc.library.text.refuse import no_tasks
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import brief

GROUP_BYTES = 4 << 20
_GROUP_ROWS = 16_384
_NAMES_AT_ONCE = 16_384
_TASKS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 20
"""A column of a row group is read through a buffer of this size, and not whole."""


def open_parquet(path: Path, *, difficulty: str | None, keep: tuple[str, ...], fields: Fields = COMMON) -> Library:
    """The task library in the Parquet file at `path`: hashes the file, reads all ids and types.

    A file that prealloc wrote proves each task when it is read. In any other, every column is a field of the
    tasks, of which `fields` or the common names are their names; `workflow` holds JSON texts, or is nested.
    Of such a file it also counts the workflows that are missing, which reads that column.

    Raises LibraryError for a file that is not Parquet, damaged, newer, or has no JSON in what is asked for, and if
    pyarrow is not installed.
    """
    where = str(path)
    _need_pyarrow(where)
    with open(open_library_file(path), "rb") as raw:
        identity = FileIdentity.of(raw.fileno())
        sha256 = sha256_of(raw, where)
        with _arrow(where):
            file = _parquet(raw)
            rows, meta = rows_of(file.schema_arrow, file.metadata.metadata or {}, where, fields, keep)
            fingerprint, starts = Fingerprint(), list[int]()
            naming = None
            if isinstance(rows, ForeignRows):
                naming, pairs = _named(file, rows, starts, where)
            else:
                pairs = _pairs(file, rows, fingerprint, starts)
            ids, types = checked_names(
                pairs, where=where, row="row", hint="give every task a string for an id, and one for a type"
            )
            if meta is not None:
                fingerprint.prove(meta, len(ids), FORMAT, where)
            counts = meta or _counts(file, rows, len(ids))
            if not identity.is_of(raw.fileno()):
                raise _changed(where)
    info = info_of(path, size=identity.bytes, sha256=sha256, types=Counter(types), difficulty=difficulty)
    return ParquetLibrary(Facts(info, ids, types, counts, keep), path, identity, rows, starts, naming)


@contextlib.contextmanager
def new_parquet(out: Path, *, force: bool, group_bytes: int = GROUP_BYTES) -> Iterator[ParquetWriter]:
    """Takes tasks into a new Parquet file, which is at `out` if the block ends well; else nothing is left of it.

    A row group has about `group_bytes` bytes of text. Raises InputError if `out` is there (unless `force`), cannot be
    made, or pyarrow is not installed; CannotGoOn if the disk is full.
    """
    _need_pyarrow(str(out))
    from pyarrow.parquet import ParquetWriter as ArrowWriter

    with (
        new_path(out, force=force) as beside,
        open(beside, "wb") as file,
        _writing(out),
        ArrowWriter(
            file,
            OurRows.schema(),
            compression="zstd",
            use_dictionary=["task_type"],
            write_statistics=["id", "task_type"],
            write_page_checksum=True,
            store_schema=False,
        ) as arrow,
    ):
        writer = ParquetWriter(arrow, group_bytes)
        yield writer
        writer.finish()


class ParquetWriter:
    """See `new_parquet`. Holds one row group in memory."""

    def __init__(self, arrow: Any, group_bytes: int) -> None:
        self._arrow = arrow
        self._group_bytes = group_bytes
        self._counts = Counts(0, 0, 0)
        self._fingerprint = Fingerprint()
        self._rows: list[tuple[str, str, bytes, bytes | None, bytes]] = []
        self._bytes = 0

    def add(self, record: Record) -> None:
        workflow, fields = record.split()
        proof = digest(record.id, record.type, workflow, fields)
        self._counts.add_record(record)
        self._fingerprint.add(record.id, record.type, proof)
        self._rows.append((record.id, record.type, proof, workflow, fields))
        self._bytes += len(record.text)
        if self._bytes >= self._group_bytes or len(self._rows) >= _GROUP_ROWS:
            self._end_group()

    def finish(self) -> None:
        if self._rows:
            self._end_group()
        meta = msgspec.json.encode(self._fingerprint.meta(self._counts)).decode()
        self._arrow.add_key_value_metadata({VERSION_KEY: str(FORMAT.version), META_KEY: meta})

    def _end_group(self) -> None:
        import pyarrow as pa

        schema = OurRows.schema()
        columns = [
            pa.array(column, field.type) for column, field in zip(zip(*self._rows, strict=True), schema, strict=True)
        ]
        self._arrow.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(self._rows))
        self._rows, self._bytes = [], 0


class ParquetLibrary(Library):
    way = "parquet"

    def __init__(
        self,
        facts: Facts,
        path: Path,
        identity: FileIdentity,
        rows: OurRows | ForeignRows,
        starts: Sequence[int],
        naming: Naming | None,
    ) -> None:
        if naming is not None:
            facts = facts._replace(info=info_with(facts.info, naming.fields))
            self.note = naming.note
        super().__init__(facts)
        self._file = path
        self._identity = identity
        self._rows = rows
        self._starts = starts
        self._naming = naming

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return self._texts(positions, strict=False)

    def objects(self, positions: Sequence[int]) -> Iterator[bytes]:
        if isinstance(self._rows, ForeignRows):  # as they go elsewhere, nothing may be left out
            self._rows.refuse_unfit(str(self._file))
        return self._compacted(positions, self._texts(positions, strict=True))

    def _texts(self, positions: Sequence[int], *, strict: bool) -> Iterator[bytes]:
        where = str(self._file)
        with open(open_library_file(self._file), "rb") as raw:
            if not self._identity.is_of(raw.fileno()):
                raise _changed(where)
            with _arrow(where):
                file = _parquet(raw)
            yield from in_asked_order(positions, self._starts, partial(self._read, file, strict))

    def _read(self, file: Any, strict: bool, group: int, positions: list[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        where = str(self._file)
        with _arrow(where):
            first = self._starts[group]
            for batch in _batches(file, _TASKS_AT_ONCE, row_groups=[group], columns=self._rows.columns):
                wanted = positions[bisect_left(positions, first) : bisect_left(positions, first + len(batch))]
                rows = self._rows.read(batch, [position - first for position in wanted], where, first, strict=strict)
                for position, row in zip(wanted, rows, strict=True):
                    found[position] = self._proved(position, row)
                first += len(batch)
                if len(found) == len(positions):
                    return found
        raise FORMAT.damaged("a row group ends too early", where)

    def _proved(self, position: int, row: Named) -> bytes:
        id, type = self.ids[position], self.types[position]
        if self._naming is not None:  # the file is the same: nothing else tells whose a row is
            return self._naming.own(row.text, id, type)
        if (row.id, row.type) != (id, type):
            raise FORMAT.damaged("another task is where this one should be", self._place(position))
        return row.text


def _changed(where: str) -> LibraryError:
    return LibraryError(
        "it was changed since it was opened", where=where, hint="wait until it is whole, then try again"
    )


def _need_pyarrow(where: str) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise LibraryError(
            f"Parquet needs pyarrow ({error})", where=where, hint="pip install 'prealloc[parquet]'"
        ) from None


def _parquet(raw: Any) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(raw, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _batches(file: Any, rows: int, **choice: Any) -> Iterator[Any]:
    # Without threads: the pool of pyarrow would outlive us, and a fork would inherit half of it.
    return (batch for batch in file.iter_batches(batch_size=rows, use_threads=False, **choice) if len(batch))


@contextlib.contextmanager
def _arrow(where: str) -> Iterator[None]:
    """What pyarrow says of a file within the block, as a LibraryError."""
    import pyarrow as pa

    try:
        yield
    # ValueError: names and texts that are not UTF-8. KeyError: a column of two names, in the two schemas of a file.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FORMAT.damaged(f"it cannot be read as Parquet: {brief(ascii(str(error))[1:-1])}", where) from None


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise InputError(
            f"it cannot be written as Parquet: {brief(error)}", where=str(out), hint="choose another format"
        ) from None


def _groups(file: Any, columns: Sequence[str], starts: list[int]) -> Iterator[Any]:
    """All of a file, batch by batch; the first rows of row groups grow on the way."""
    # Counted, not asked of file.metadata: pyarrow aborts the process where a row group is damaged.
    count = 0
    for group in range(file.num_row_groups):
        starts.append(count)
        for batch in _batches(file, _NAMES_AT_ONCE, row_groups=[group], columns=columns):
            yield batch
            count += len(batch)


def _pairs(file: Any, rows: OurRows, fingerprint: Fingerprint, starts: list[int]) -> Iterator[tuple[Any, Any]]:
    """Id and type of each row of our own file; its fingerprint grows on the way."""
    for batch in _groups(file, rows.names, starts):
        ids, types, digests = (stored(batch.column(name)).to_pylist() for name in rows.names)
        if not (None in ids or None in types or None in digests):
            for id, type, proof in zip(ids, types, digests, strict=True):
                fingerprint.add(id, type, proof)
        yield from zip(ids, types, strict=True)


def _named(file: Any, rows: ForeignRows, starts: list[int], where: str) -> tuple[Naming, Iterable[tuple[str, str]]]:
    """How the tasks of another file are named, and the id and type of each row."""
    names: dict[Column, list[str]] = {}
    tasks = 0
    for batch in _groups(file, rows.columns if rows.names_by_text else rows.names, starts):
        texts = partial(rows.objects, batch, where)
        found = rows.asked.take_values(rows.values(batch), texts)
        names = {column: [*names.get(column, ()), *found[column]] for column in found}
        tasks += len(batch)
    if not tasks:
        raise no_tasks(where)
    naming = rows.asked.chosen(has_workflow=rows.has_workflow)
    return naming, zip(names[naming.ids], names[naming.types], strict=True)


def _counts(file: Any, rows: OurRows | ForeignRows, tasks: int) -> Counts:
    """The counts of a foreign file."""
    counts = Counts(tasks, tasks, 0)
    if {"id", "instance_id"} <= {*rows.names}:
        for batch in _batches(file, _NAMES_AT_ONCE, columns=["id", "instance_id"]):
            one, other = (stored(batch.column(name)).to_pylist() for name in ("id", "instance_id"))
            counts.two_ids += sum(a != b for a, b in zip(one, other, strict=True))
    if isinstance(rows, ForeignRows) and rows.has_workflow:
        batches = _batches(file, _TASKS_AT_ONCE, columns=[_leaf(file, rows.workflow)])
        counts.without_workflow = sum(_missing(batch, rows) for batch in batches)
    return counts


def _missing(batch: Any, rows: ForeignRows) -> int:
    import pyarrow.compute as pc

    workflows = stored(batch.column(rows.workflow))
    missing: int = workflows.null_count
    if rows.is_workflow_text:
        nulls = pc.equal(pc.utf8_trim_whitespace(workflows), "null")
        missing += pc.sum(nulls).as_py() or 0
    return missing


def _leaf(file: Any, workflow: str) -> str:
    """A column that tells where a workflow is missing. A nested one has many: one of numbers is read quickest."""
    # A name may have a dot, and then looks like a part of a nested column.
    others = tuple(f"{name}." for name in file.schema_arrow.names if name.startswith(f"{workflow}."))
    # Not their sizes, which file.metadata tells: pyarrow aborts the process where those of a column are damaged.
    leaves = [file.schema.column(i) for i in range(len(file.schema))]
    fitting = [
        leaf for leaf in leaves if leaf.path.startswith(f"{workflow}.") and not f"{leaf.path}.".startswith(others)
    ]
    if not fitting:
        return workflow
    return str(min(fitting, key=lambda leaf: (leaf.physical_type == "BYTE_ARRAY", leaf.path.count("."))).path)
