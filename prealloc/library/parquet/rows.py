"""How tasks lie in the rows of a Parquet file: as prealloc writes them, or as somebody else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import joined
from prealloc.library.parquet.columns import is_text, plain, storage, stored, unfit
from prealloc.library.storing.format import StoredFormat
from prealloc.library.storing.stored import DIGEST_BYTES, Meta, digest
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.spelling import ID_SPELLINGS, TYPE_SPELLINGS

FORMAT = StoredFormat("prealloc-library-parquet", 1)
VERSION_KEY = b"prealloc_version"
META_KEY = b"prealloc_library"
"""Under it stands a `Meta` as JSON."""


class Named(NamedTuple):
    """A row's text, and whose it is."""

    id: Any
    type: Any
    text: bytes


class Rows(Protocol):
    """One way for tasks to lie in rows."""

    names: list[str]
    """The columns of id and type, and others that prove them."""

    def read(self, batch: Any, chosen: Sequence[int], place: str, first: int) -> Iterator[Named]:
        """The tasks in these rows of a batch whose first row is row `first` of the file. Raises LibraryError."""


class OurRows:
    """Columns `id`, `task_type`, `digest` (16 bytes, see `storing.stored`), `workflow` and `fields`, both JSON texts.

    `workflow` is null where the task has none; `fields` is the task's object without it.
    """

    names: list[str]

    def __init__(self) -> None:
        self.names = ["id", "task_type", "digest"]

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

    def read(self, batch: Any, chosen: Sequence[int], place: str, first: int) -> Iterator[Named]:
        import pyarrow as pa

        # As bytes: a damaged text may be no UTF-8, and the digest is of bytes anyway.
        workflows, fields = (batch.column(name).cast(pa.binary()) for name in ("workflow", "fields"))
        ids, types, digests = (batch.column(name) for name in self.names)
        for row in chosen:
            id, type, proof = ids[row].as_py(), types[row].as_py(), digests[row].as_py()
            workflow, rest = workflows[row].as_py(), fields[row].as_py()
            if None in (id, type, rest) or digest(id, type, workflow, rest) != proof:
                raise FORMAT.damaged("the task is not what was written", f"{place}, row {first + row} (counted from 0)")
            yield Named(id, type, joined(workflow, rest))


class ForeignRows:
    """Any other file: each column is a field. `workflow` is JSON text if it is a string, else its value."""

    names: list[str]

    def __init__(self, schema: Any, where: str) -> None:
        found = [name for name in schema.names if schema.names.count(name) > 1]
        if found:
            raise LibraryError(
                f"two columns are called {ascii(found[0])[:80]}", where=where, hint="rename or drop one of them"
            )
        self.names = [_column(schema, spellings, where) for spellings in (ID_SPELLINGS, TYPE_SPELLINGS)]
        self.has_workflow = "workflow" in schema.names
        self.is_workflow_text = self.has_workflow and is_text(schema.field("workflow").type)
        for field in schema:
            problem = unfit(field.type)
            if problem:
                raise LibraryError(
                    f"the column {ascii(field.name)[:80]} holds {problem[:200]}, for which JSON has no word",
                    where=where,
                    hint="cast it to strings or numbers, or drop the column",
                )

    def read(self, batch: Any, chosen: Sequence[int], place: str, first: int) -> Iterator[Named]:
        columns = {name: stored(batch.column(name)) for name in batch.schema.names}
        for row in chosen:
            where = f"{place}, row {first + row} (counted from 0)"
            fields = {name: _value(column, row, name, where) for name, column in columns.items() if name != "workflow"}
            workflow = self._workflow(columns["workflow"], row, where) if self.has_workflow else None
            yield Named(fields[self.names[0]], fields[self.names[1]], joined(workflow, msgspec.json.encode(fields)))

    def _workflow(self, column: Any, row: int, where: str) -> bytes | None:
        value = _value(column, row, "workflow", where)
        if value is None:
            return None
        if not self.is_workflow_text:
            return msgspec.json.encode(value)
        try:
            return compact(value.encode())
        except StrictJsonError as error:
            raise LibraryError(
                f"the workflow is no JSON text: {error.problem}",
                where=f"{where}, at workflow{(error.path or '$')[1:]}",
                hint="fix this value, or store the workflow as a nested column",
            ) from None


def rows_of(schema: Any, metadata: dict[bytes, bytes], where: str) -> tuple[Rows, Meta | None]:
    """How tasks lie in a file of this schema, with what its writer says of them if that was us. Raises LibraryError."""
    version, raw = metadata.get(VERSION_KEY), metadata.get(META_KEY)
    if version is None and raw is None:
        return ForeignRows(schema, where), None
    if version is None or raw is None:
        raise FORMAT.damaged("half of what prealloc writes about its tasks is missing", where)
    if version != b"%d" % FORMAT.version:
        FORMAT.refuse_version(version.decode(errors="replace"), where)
    if not schema.equals(OurRows.schema(), check_metadata=False):
        raise FORMAT.damaged("its columns are not as prealloc writes them", where)
    try:
        meta = msgspec.json.decode(raw, type=Meta)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FORMAT.damaged("what prealloc writes about its tasks is damaged", where) from None
    return OurRows(), meta


def _column(schema: Any, spellings: Sequence[str], where: str) -> str:
    for name in spellings:
        if name in schema.names:
            type = storage(schema.field(name).type)
            if not is_text(type):
                raise LibraryError(
                    f"the column {name} holds {type}, no strings", where=where, hint="cast it to strings"
                )
            return name
    raise LibraryError(
        f"there is no column {' or '.join(spellings)}",
        where=where,
        hint="rename the columns that name a task and its type",
    )


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
