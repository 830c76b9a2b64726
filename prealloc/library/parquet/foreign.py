"""Rows of Parquet and Arrow that others wrote: which columns can be the fields of tasks, and their values as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw
from pyarrow import types as is_

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.naming import Column, Names, Naming, needed
from prealloc.library.packed.library import StoredNames
from prealloc.library.packed.table import DIGEST_BYTES
from prealloc.library.rows import NOTHING, Counts
from prealloc.library.text.other_formats import refuse_alike
from prealloc.library.text.refuse import no_tasks, python
from prealloc.model.fields import Fields
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD

MOST_DEPTH = 64
"""Lists, structs and maps within each other."""

_TEXTS = frozenset({"string", "large_string", "string_view"})
_SCALARS = _TEXTS | {"null", "bool", "float", "double"}
# Not the half float: pyarrow gives numpy's, if there is numpy.


class ForeignRows:
    """Each column is a field of the tasks. The workflow's is JSON text if it is a string, else its value.

    Only the columns that are `needed` have to be JSON: of the others, columns and values that are not JSON are left
    out.
    """

    def __init__(self, schema: Any, where: str, asked: Fields, keep: tuple[str, ...]) -> None:
        refuse_alike(schema.names, where)
        self.naming: Naming | None = None
        """How the tasks are named: known when `names` have been read."""
        self.counts = Counts(0, 0, 0)
        self._where = where
        self._asked = Names(asked, dict.fromkeys(schema.empty_table().flatten().column_names, NOTHING), where)
        self._workflow = self._asked.workflow
        self._has_workflow = self._workflow in schema.names
        self._is_workflow_text = self._has_workflow and _is_text(schema.field(self._workflow).type)
        self._unfit = {field.name: problem for field in schema if (problem := _unfit(field.type))}
        self.columns = [name for name in schema.names if name not in self._unfit]
        self._heads = [name for name in self._asked.heads() if name in self.columns]
        self._needed = frozenset(schema.names) if EVERY_FIELD in keep else needed(asked, keep)
        self._refuse_unfit(self._needed)
        self.scanned = sorted({*self._heads, self._workflow} & {*self.columns})
        self.scans_texts = self._has_workflow
        if asked.id_from == "content":
            self.scanned, self.scans_texts = self.columns, True

    def _refuse_unfit(self, names: Container[str]) -> None:
        """Raises LibraryError for a column among these that cannot be JSON."""
        if found := {name: problem for name, problem in self._unfit.items() if name in names}:
            told = "; ".join(f"the column {ascii(name)[:80]} holds {problem[:200]}" for name, problem in found.items())
            path = Path(self._where)
            table, new = f"parquet.read_table({self._where!r})", str(path.with_name(f"fixed-{path.name}"))
            code = f"from pyarrow import parquet; parquet.write_table({table}.drop_columns({[*found]}), {new!r})"
            hint = f"cast to strings or numbers, or leave out: {python(code)}"
            raise LibraryError(f"{told}, which JSON cannot express", where=self._where, hint=hint)

    def names(self, batches: Iterator[Any]) -> Iterator[StoredNames]:
        """Whose the rows are, by the best of the columns that may be their names. Raises LibraryError."""
        names = defaultdict[Column, list[str]](list)
        for batch in batches:
            tasks = self._tasks(batch)
            texts = partial(self.read, batch, range(len(batch)), self.counts.tasks)
            for names_of, more in self._asked.take(tasks, texts).items():
                names[names_of] += more
            self.counts.add(tasks, [NOTHING] * self._without_workflow(batch))
        if not self.counts.tasks:
            raise no_tasks(self._where)
        if self._asked.best()[0] is None:
            self._refuse_unfit(self._asked.heads())
        self.naming = self._asked.chosen(has_workflow=self._has_workflow)
        yield names[self.naming.ids], names[self.naming.types], [bytes(DIGEST_BYTES)] * self.counts.tasks

    def _tasks(self, batch: Any) -> list[dict[str, Raw]]:
        """The fields that may be the names of tasks, in each row."""
        columns = [_stored(batch.column(name)).to_pylist(maps_as_pydicts="lossy") for name in self._heads]
        texts = [[Raw(msgspec.json.encode(value)) for value in column] for column in columns]
        return [dict(zip(self._heads, row, strict=True)) for row in zip(*texts, strict=True)] or [{}] * len(batch)

    def _without_workflow(self, batch: Any) -> int:
        """How many rows have no workflow, or null."""
        import pyarrow.compute as pc

        if not self._has_workflow:
            return len(batch)
        workflows = _stored(batch.column(self._workflow))
        missing: int = workflows.null_count
        if self._is_workflow_text:
            missing += pc.sum(pc.equal(pc.utf8_trim_whitespace(workflows), "null")).as_py() or 0
        return missing

    def lines(self, batches: Iterable[Any]) -> Iterator[bytes]:
        """All rows as they are in the file. Raises LibraryError."""
        first = 0
        for batch in batches:
            yield from self.read(batch, range(len(batch)), first)
            first += len(batch)

    def read(self, batch: Any, rows: Iterable[int], first: int) -> Iterator[bytes]:
        """The tasks in these rows of a batch whose first row is row `first` of the file. Raises LibraryError."""
        columns = {name: _stored(batch.column(name)) for name in batch.schema.names if name in self.columns}
        flow = columns.pop(self._workflow, None)
        for row in rows:
            where = f"{self._where}, row {first + row} (counted from 0)"
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


def _plain(type: Any) -> Any:
    """The type that values of this type are stored as: pyarrow's `json`, say, is a string."""
    while isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    return type.value_type if is_.is_dictionary(type) else type


def _stored(array: Any) -> Any:
    """The array as its storage type, with its values as such: not as a dictionary of them, nor as views."""
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if is_.is_dictionary(array.type):
        array = array.dictionary_decode()
    # Views are what Polars writes; few functions of pyarrow take them.
    return array.cast(pa.large_string()) if is_.is_string_view(array.type) else array


def _is_text(type: Any) -> bool:
    return str(_plain(type)) in _TEXTS


def _unfit(type: Any, depth: int = 0) -> str | None:
    """The name of the first type within `type` whose values are not JSON; None if all of them are."""
    if depth > MOST_DEPTH:
        return "a type nested too deep"
    if depth == 0:
        type = _plain(type)
    if is_.is_integer(type) or str(type) in _SCALARS:
        return None
    lists = (is_.is_list, is_.is_large_list, is_.is_fixed_size_list)
    if not any(is_one(type) for is_one in (*lists, is_.is_struct, is_.is_map)):
        return str(type)
    if is_.is_map(type) and not _is_text(type.key_type):
        return f"a map with keys of {type.key_type}"
    inner = [type.field(i) for i in range(type.num_fields)]
    if len({field.name for field in inner}) < len(inner):
        return "a struct with two fields of one name"
    return next((found for field in inner if (found := _unfit(field.type, depth + 1))), None)
