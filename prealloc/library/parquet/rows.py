"""How tasks lie in the rows of a Parquet file: as prealloc writes them, or as somebody else does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import joined
from prealloc.library.naming import Column, Names, Naming, needed
from prealloc.library.packed.table import DIGEST_BYTES, Meta, StoredNames
from prealloc.library.parquet.columns import is_text, stored, unfit
from prealloc.library.rows import NOTHING, Counts, field_of
from prealloc.library.storing.stored import StoredFormat
from prealloc.library.text.other_formats import refuse_alike
from prealloc.library.text.refuse import no_tasks, python
from prealloc.model.fields import Fields
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD

FORMAT = StoredFormat("prealloc-library-parquet", 1, ("digest",))
META_KEY = b"prealloc_library"
"""Under it stands a `Meta` as JSON, behind the format."""


class OurRows:
    """Columns `id`, `task_type`, `digest` (16 bytes, see packed/table.py), `workflow` and `fields`, both JSON texts.

    `workflow` is null where the task has none; `fields` is the task's object without it.
    """

    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("task_type", pa.string(), nullable=False),
            pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
            pa.field("workflow", pa.string()),
            pa.field("fields", pa.string(), nullable=False),
        ]
    )
    scanned: ClassVar = ["id", "task_type", "digest"]
    """The columns that tell whose the rows are."""
    scans_texts = False
    columns: ClassVar = ["workflow", "fields"]
    """What is read of a task."""
    naming = None

    def __init__(self, meta: Meta) -> None:
        self.counts = meta

    def names(self, batches: Iterator[Any], where: str) -> Iterator[StoredNames]:
        for batch in batches:
            ids, types, digests = (batch.column(name).to_pylist() for name in self.scanned)
            yield ids, types, digests

    def read(self, batch: Any, rows: Iterable[int], place: str, first: int) -> Iterator[bytes]:
        """The tasks in these rows of a batch whose first row is row `first` of the file. Raises LibraryError."""
        # As bytes: a damaged text may not be UTF-8, and the digest is of bytes anyway.
        columns = [batch.column(name).cast(pa.binary()) for name in self.columns]
        for row in rows:
            workflow, rest = (column[row].as_py() for column in columns)
            yield joined(workflow, rest or b"")


class ForeignRows:
    """Any other file: each column is a field. The workflow's is JSON text if it is a string, else its value.

    Only the columns that are `needed` have to be JSON: of the others, columns and values that are not JSON are left
    out.
    """

    def __init__(self, schema: Any, where: str, asked: Fields, keep: tuple[str, ...]) -> None:
        refuse_alike(schema.names, where)
        self.naming: Naming | None = None
        """How the tasks are named: known when `names` have been read."""
        self.counts = Counts(0, 0, 0)
        self._asked = Names(asked, dict.fromkeys(schema.empty_table().flatten().column_names, NOTHING), where)
        self._workflow = asked.workflow_field or "workflow"
        self._has_workflow = self._workflow in schema.names
        self._is_workflow_text = self._has_workflow and is_text(schema.field(self._workflow).type)
        self._unfit = {field.name: problem for field in schema if (problem := unfit(field.type))}
        self.columns = [name for name in schema.names if name not in self._unfit]
        self._names = [name for name in self._asked.heads() if name in self.columns]
        self._needed = frozenset(schema.names) if EVERY_FIELD in keep else needed(asked, keep)
        self.refuse_unfit(where, self._needed)
        self.scanned = sorted({*self._names, self._workflow} & {*self.columns})
        self.scans_texts = self._has_workflow
        if asked.id_from == "content":
            self.scanned, self.scans_texts = self.columns, True

    def refuse_unfit(self, where: str, names: Container[str] | None = None) -> None:
        """Raises LibraryError for a column, among these if they are given, that cannot be JSON."""
        found = {name: problem for name, problem in self._unfit.items() if names is None or name in names}
        if found:
            told = "; ".join(f"the column {ascii(name)[:80]} holds {problem[:200]}" for name, problem in found.items())
            table, new = f"parquet.read_table({where!r})", str(Path(where).with_name(f"fixed-{Path(where).name}"))
            code = f"from pyarrow import parquet; parquet.write_table({table}.drop_columns({[*found]}), {new!r})"
            hint = f"cast to strings or numbers, or leave out: {python(code)}"
            raise LibraryError(f"{told}, which JSON cannot express", where=where, hint=hint)

    def names(self, batches: Iterator[Any], where: str) -> Iterator[StoredNames]:
        """Whose the rows are, by the best of the columns that may be their names. Raises LibraryError."""
        names = defaultdict[Column, list[str]](list)
        for batch in batches:
            tasks = self._tasks(batch)
            texts = partial(self._texts, batch, where)
            for names_of, more in self._asked.take(len(tasks), partial(field_of, tasks), texts).items():
                names[names_of] += more
            self.counts.add(tasks, workflows=())
            self.counts.without_workflow += self._without_workflow(batch)
        if not self.counts.tasks:
            raise no_tasks(where)
        if self._asked.best()[0] is None:
            self.refuse_unfit(where, self._asked.heads())
        self.naming = self._asked.chosen(has_workflow=self._has_workflow)
        yield names[self.naming.ids], names[self.naming.types], [bytes(DIGEST_BYTES)] * self.counts.tasks

    def _tasks(self, batch: Any) -> list[dict[str, Raw]]:
        """The fields that may be the names of tasks, in each row."""
        columns = [stored(batch.column(name)).to_pylist(maps_as_pydicts="lossy") for name in self._names]
        texts = [[Raw(msgspec.json.encode(value)) for value in column] for column in columns]
        return [dict(zip(self._names, row, strict=True)) for row in zip(*texts, strict=True)] or [{}] * len(batch)

    def lines(self, batches: Iterable[Any], place: str, first: int = 0) -> Iterator[bytes]:
        """All rows as they are in the file, the first of which is row `first`. Raises LibraryError."""
        for batch in batches:
            yield from self.read(batch, range(len(batch)), place, first)
            first += len(batch)

    def _texts(self, batch: Any, place: str) -> list[Raw]:
        return [*map(Raw, self.lines([batch], place, self.counts.tasks))]

    def _without_workflow(self, batch: Any) -> int:
        """How many rows have no workflow, or null."""
        import pyarrow.compute as pc

        if not self._has_workflow:
            return len(batch)
        workflows = stored(batch.column(self._workflow))
        missing: int = workflows.null_count
        if self._is_workflow_text:
            missing += pc.sum(pc.equal(pc.utf8_trim_whitespace(workflows), "null")).as_py() or 0
        return missing

    def read(self, batch: Any, rows: Iterable[int], place: str, first: int) -> Iterator[bytes]:
        columns = {name: stored(batch.column(name)) for name in batch.schema.names if name in self.columns}
        flow = columns.pop(self._workflow, None)
        for row in rows:
            where = f"{place}, row {first + row} (counted from 0)"
            fields = {}
            for name, column in columns.items():
                try:
                    fields[name] = _value(column, row, name, where)
                except LibraryError:
                    if name in self._needed:
                        raise
            if flow is not None and (workflow := self._flow(flow, row, where)) is not None:
                fields[self._workflow] = Raw(workflow)
            yield msgspec.json.encode(fields)

    def _flow(self, column: Any, row: int, where: str) -> bytes | None:
        value = _value(column, row, self._workflow, where)
        if value is None:
            return None
        if not self._is_workflow_text:
            return msgspec.json.encode(value)
        try:
            return compact(value.encode())
        except StrictJsonError as error:
            raise LibraryError(
                f"the workflow is not JSON: {error.problem}",
                where=f"{where}, at workflow{(error.path or '$')[1:]}",
                hint="fix this value, or store the workflow as a nested column",
            ) from None


def rows_of(
    schema: Any, metadata: dict[bytes, bytes], where: str, asked: Fields, keep: tuple[str, ...]
) -> OurRows | ForeignRows:
    """How tasks lie in a file of this schema. Raises LibraryError."""
    raw, ours = metadata.get(META_KEY), schema.equals(OurRows.schema, check_metadata=False)
    if raw is None and not ours:
        return ForeignRows(schema, where, asked, keep)
    if raw is None:
        raise FORMAT.damaged("what prealloc writes about its tasks is missing", where)
    meta = FORMAT.decode(raw, Meta, where)
    if not ours:
        raise FORMAT.damaged("its columns are not as prealloc writes them", where)
    return OurRows(meta)


def _value(column: Any, row: int, name: str, where: str) -> Any:
    try:
        value = column[row].as_py(maps_as_pydicts="strict")
        check_json(value, name)
    except (NoJson, UnicodeDecodeError, KeyError) as error:
        problem = "a map has a key twice" if isinstance(error, KeyError) else error
        raise LibraryError(
            f"the column {ascii(name)[:80]} has no JSON value here: {problem}",
            where=where,
            hint="fix this value, or drop the column",
        ) from None
    return value
