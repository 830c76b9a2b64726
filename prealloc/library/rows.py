"""What the one pass over a library takes from each task: ids, types, and workflows as raw bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw

from prealloc.errors import Mistake, refuse
from prealloc.model.spelling import EVERY_FIELD, IN_EVERY_SLICE

NOTHING = Raw(b"")
"""In place of a value that a task does not have."""
NULL = Raw(b"null")
FIELDS = msgspec.json.Decoder(dict[str, Raw])
"""Gives the fields of a task's object by name, as they lie in its text."""


class Row(msgspec.Struct, gc=False):
    """One task as it lies in the library. Raw fields point into the library's bytes and keep them alive.

    Ids and types may be anything: a `type` that loses to `task_type` need not be a string.
    """

    id: Any = UNSET
    instance_id: Any = UNSET
    task_type: Any = UNSET
    type: Any = UNSET
    workflow: Raw = NOTHING


def row_type(keep: tuple[str, ...]) -> type[Row]:
    """The row with one Raw field (`kept_0`, `kept_1`, ...) for each name of `keep`.

    A name that a row has anyway (`instance_id`, `type`) gets none: see `kept`. With every field kept, they come from
    the task's whole text.
    """
    rename = {f"kept_{i}": name for i, name in enumerate(keep) if name not in {*Row.__struct_fields__, EVERY_FIELD}}
    if not rename:
        return Row
    fields = [(name, Raw, NOTHING) for name in rename]
    return cast("type[Row]", msgspec.defstruct("KeptRow", fields, bases=(Row,), rename=rename, gc=False))


def named(row: Row) -> tuple[Any, Any]:
    """Id and type of a row, whatever they are; UNSET where it has none.

    `id` and `task_type` come first, unless only the other can be one.
    """
    return _either(row.id, row.instance_id), _either(row.task_type, row.type)


def names_of(rows: Sequence[Row]) -> tuple[list[Any], list[Any]]:
    """The ids and the types of rows as `named` gives them, column by column: calls for a million rows take seconds."""
    return (
        _column([row.id for row in rows], [row.instance_id for row in rows]),
        _column([row.task_type for row in rows], [row.type for row in rows]),
    )


def _column(firsts: list[Any], seconds: list[Any]) -> list[Any]:
    return firsts if are_names(firsts) else list(map(_either, firsts, seconds))


def _either(first: Any, second: Any) -> Any:
    return second if first is UNSET or (is_name(second) and not is_name(first)) else first


def kept(row: Row, i: int, name: str) -> Raw:
    """The value of the field that is kept as number `i`; NOTHING if the task does not have it."""
    if name not in Row.__struct_fields__:
        raw: Raw = getattr(row, f"kept_{i}")
        return raw
    value = getattr(row, name)
    return NOTHING if value is UNSET else Raw(msgspec.json.encode(value))


def workflow_of(task: Row | dict[str, Raw]) -> Raw:
    """The workflow of a task that was decoded as a row or as its fields; NOTHING if it does not have one."""
    return task.get("workflow", NOTHING) if isinstance(task, dict) else task.workflow


def is_name(value: Any) -> bool:
    """Whether a value can be a task's id or type: a string, not empty, without a NUL."""
    return type(value) is str and value != "" and "\0" not in value


def are_names(values: Sequence[Any]) -> bool:
    """Whether each of the values `is_name`."""
    return {*map(type, values)} == {str} and all(values) and "\0" not in "".join(values)


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """Of some tasks: how many, how many without a workflow (or null), how many with two ids that differ."""

    tasks: int
    without_workflow: int
    two_ids: int

    def add(self, rows: Sequence[Row]) -> None:
        """Counts these tasks too."""
        self.tasks += len(rows)
        flows = [row.workflow for row in rows]
        self.without_workflow += flows.count(NOTHING) + flows.count(NULL)
        self.two_ids += sum(map(_has_two_ids, [row for row in rows if row.instance_id is not UNSET]))


def _has_two_ids(row: Row) -> bool:
    """Whether both spellings of an id hold one, and they differ."""
    return row.id != row.instance_id and is_name(row.id) and is_name(row.instance_id)


def checked_keep(keep: tuple[str, ...]) -> tuple[str, ...]:
    """The fields to keep, each once and sorted; EVERY_FIELD makes all others needless. Raises OptionsError."""
    found = []
    taken = ", ".join(sorted(IN_EVERY_SLICE & set(keep)))
    if taken:
        found.append(Mistake("‹keep›", f"{taken} is in every slice already", f"leave {taken} out"))
    # msgspec finds fields by their spelling in the file; these characters have several.
    odd = ", ".join(ascii(name) for name in sorted(set(keep)) if re.search(r'["\\\x00-\x1f]', name))
    if odd:
        found.append(Mistake("‹keep›", f"{odd} has a quote, backslash or control character", "rename the field"))
    refuse(found)
    return (EVERY_FIELD,) if EVERY_FIELD in keep else tuple(sorted(set(keep)))
