"""How tasks lie in the rows of a Parquet file: as prealloc writes them, or as somebody else does."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import joined
from prealloc.library.naming import Names, needed
from prealloc.library.parquet.columns import is_text, plain, stored, unfit
from prealloc.library.storing.format import StoredFormat
from prealloc.library.storing.stored import DIGEST_BYTES, Meta, digest
from prealloc.model.fields import Fields
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD

FORMAT = StoredFormat("prealloc-library-parquet", 1)
VERSION_KEY = b"prealloc_version"
META_KEY = b"prealloc_library"
"""Under it stands a `Meta` as JSON."""


class Named(NamedTuple):
    """A row's text, and whose it is."""

    id: Any
    """None where nothing in the row proves it."""
    type: Any
    text: bytes


class OurRows:
    """Columns `id`, `task_type`, `digest` (16 bytes, see `storing.stored`), `workflow` and `fields`, both JSON texts.

    `workflow` is null where the task has none; `fields` is the task's object without it.
    """

    names: ClassVar = ["id", "task_type", "digest"]
    columns = None
    """All of them."""

    @staticmethod
    def schema() -> Any:
        import pyarrow as pa

        return pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("task_type", pa.string(), nullable=False),
                pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
                pa.field("workflow", pa.string()),
                pa.field("fields", pa.string(), nullable=False),
            ]
        )

    def read(
        self, batch: Any, chosen: Sequence[int], place: str, first: int, *, strict: bool = False
    ) -> Iterator[Named]:
        """The tasks in these rows of a batch whose first row is row `first` of the file. Raises LibraryError."""
        import pyarrow as pa

        # As bytes: a damaged text may not be UTF-8, and the digest is of bytes anyway.
        workflows, fields = (batch.column(name).cast(pa.binary()) for name in ("workflow", "fields"))
        ids, types, digests = (batch.column(name) for name in self.names)
        for row in chosen:
            id, type, proof = ids[row].as_py(), types[row].as_py(), digests[row].as_py()
            workflow, rest = workflows[row].as_py(), fields[row].as_py()
            if None in (id, type, rest) or digest(id, type, workflow, rest) != proof:
                raise FORMAT.damaged("the task is not what was written", f"{place}, row {first + row} (counted from 0)")
            yield Named(id, type, joined(workflow, rest))


class ForeignRows:
    """Any other file: each column is a field. The workflow's is JSON text if it is a string, else its value.

    Only the columns that are `needed` have to be JSON: of the others, columns and values that are not JSON are left
    out.
    """

    def __init__(self, schema: Any, where: str, asked: Fields, keep: tuple[str, ...]) -> None:
        found = [name for name in schema.names if schema.names.count(name) > 1]
        if found:
            raise LibraryError(
                f"two columns are called {ascii(found[0])[:80]}", where=where, hint="rename or drop one of them"
            )
        self.asked = Names(asked, schema.names, where)
        self.workflow = asked.workflow_field or "workflow"
        self.has_workflow = self.workflow in schema.names
        self.is_workflow_text = self.has_workflow and is_text(schema.field(self.workflow).type)
        problems = {field.name: unfit(field.type) for field in schema}
        self.names = [name for name in self.asked.heads() if name in schema.names and not problems[name]]
        self._needed = frozenset(schema.names) if EVERY_FIELD in keep else needed(asked, keep)
        self._unfit = {name: problem for name, problem in problems.items() if problem}
        self.refuse_unfit(where, self._needed)
        self.columns = [name for name in schema.names if name not in self._unfit]
        self.names_by_text = asked.id_from == "content"

    def refuse_unfit(self, where: str, names: Container[str] | None = None) -> None:
        """Raises LibraryError for a column, among these if they are given, that cannot be JSON."""
        for name, problem in self._unfit.items():
            if names is None or name in names:
                raise LibraryError(
                    f"the column {ascii(name)[:80]} holds {problem[:200]}, which JSON cannot express",
                    where=where,
                    hint="cast it to strings or numbers, drop the column, or name the fields that you need with ‹keep›",
                )

    def objects(self, batch: Any, place: str) -> list[msgspec.Raw]:
        """The tasks of a batch."""
        return [msgspec.Raw(row.text) for row in self.read(batch, range(len(batch)), place, 0)]

    def values(self, batch: Any) -> list[dict[str, Any]]:
        """The names that may be those of tasks, in each row of a batch with these columns."""
        names = [name for name in self.names if name in batch.schema.names]
        columns = [stored(batch.column(name)) for name in names]
        values = [[plain(value, column.type) for value in column.to_pylist()] for column in columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)] or [{}] * len(batch)

    def read(
        self, batch: Any, chosen: Sequence[int], place: str, first: int, *, strict: bool = False
    ) -> Iterator[Named]:
        columns = {name: stored(batch.column(name)) for name in batch.schema.names if name in self.columns}
        flow = columns.pop(self.workflow, None)
        if self.workflow != "workflow":
            columns.pop("workflow", None)
        for row in chosen:
            where = f"{place}, row {first + row} (counted from 0)"
            fields = {}
            for name, column in columns.items():
                try:
                    fields[name] = _value(column, row, name, where)
                except LibraryError:
                    if strict or name in self._needed:
                        raise
            workflow = self._workflow(flow, row, where) if flow is not None else None
            yield Named(None, None, joined(workflow, msgspec.json.encode(fields)))

    def _workflow(self, column: Any, row: int, where: str) -> bytes | None:
        value = _value(column, row, self.workflow, where)
        if value is None:
            return None
        if not self.is_workflow_text:
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
) -> tuple[OurRows, Meta] | tuple[ForeignRows, None]:
    """How tasks lie in a file of this schema, with what its writer says of them if that was us. Raises LibraryError."""
    version, raw = metadata.get(VERSION_KEY), metadata.get(META_KEY)
    ours = schema.equals(OurRows.schema(), check_metadata=False)
    if version is None and raw is None and not ours:
        return ForeignRows(schema, where, asked, keep), None
    if version is None or raw is None:
        raise FORMAT.damaged(
            f"{'all' if version is raw else 'half'} of what prealloc writes about its tasks is missing", where
        )
    if version != b"%d" % FORMAT.version:
        FORMAT.refuse_version(version.decode(errors="replace"), where)
    if not ours:
        raise FORMAT.damaged("its columns are not as prealloc writes them", where)
    try:
        meta = msgspec.json.decode(raw, type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FORMAT.damaged("what prealloc writes about its tasks is damaged", where) from None
    return OurRows(), meta


def _value(column: Any, row: int, name: str, where: str) -> Any:
    try:
        value = plain(column[row].as_py(), column.type)
        check_json(value, name)
    except (NoJson, UnicodeDecodeError) as error:
        raise LibraryError(
            f"the column {ascii(name)[:80]} has no JSON value here: {error}",
            where=where,
            hint="fix this value, or drop the column",
        ) from None
    return value
