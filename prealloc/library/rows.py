"""What the one pass over a library takes from each task: some of its fields, as the bytes that they are in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw

from prealloc.errors import Mistake, refuse
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, IN_EVERY_SLICE, TYPE_SPELLINGS

NOTHING = Raw(b"")
"""In place of a value that a task does not have."""
NULL = Raw(b"null")
FIELDS = msgspec.json.Decoder(dict[str, Raw])
"""Gives the fields of a task's object by name, as they lie in its text."""

_NO_ATTRIBUTE = re.compile(r'["\\\x00-\x1f]')
# What msgspec does not look for in a text.


def row_type(names: Iterable[str]) -> type:
    """What tasks are decoded as to look into these fields, and their workflow, by `field_of`; others are stepped over.

    What is decoded points into the bytes of the text and keeps them alive.
    """
    asked = sorted({*names} - {"workflow"})
    if EVERY_FIELD in asked or any(map(_NO_ATTRIBUTE.search, asked)):
        return cast("type", dict[str, Raw])
    places = {f"field_{i}": name for i, name in enumerate(asked)}
    fields = [(place, Raw, NOTHING) for place in ("workflow", *places)]
    return msgspec.defstruct("Row", fields, rename=places, gc=False)


def field_of(rows: Sequence[Any], name: str) -> list[Raw]:
    """A field of each of these tasks; NOTHING where one does not have it, or if nobody said to look into it."""
    if not rows or isinstance(rows[0], dict):
        return [row.get(name, NOTHING) for row in rows]
    shape = type(rows[0])
    names = shape.__struct_encode_fields__
    if name not in names:
        return [NOTHING] * len(rows)
    return [*map(attrgetter(shape.__struct_fields__[names.index(name)]), rows)]


def value_of(raw: Raw) -> Any:
    """The value of a field; UNSET where there is none. Raises UNREADABLE."""
    return UNSET if raw is NOTHING else msgspec.json.decode(raw)


def named(row: Any) -> tuple[Any, Any]:
    """Id and type of a task by our spellings, whatever they are; UNSET where it has none. Raises UNREADABLE.

    `id` and `task_type` come first, unless only the other can be one.
    """
    id, type = (
        _either(*(value_of(raw) for name in spellings for raw in field_of([row], name)))
        for spellings in (ID_SPELLINGS, TYPE_SPELLINGS)
    )
    return id, type


def _either(first: Any, second: Any) -> Any:
    return second if first is UNSET or (is_name(second) and not is_name(first)) else first


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

    def add(self, rows: Sequence[Any], workflows: Sequence[Raw] | None = None) -> None:
        """Counts these tasks too. `workflows` are theirs, where they are not in the field of this name."""
        self.tasks += len(rows)
        flows = field_of(rows, "workflow") if workflows is None else workflows
        self.without_workflow += flows.count(NOTHING) + flows.count(NULL)
        seconds = field_of(rows, "instance_id")
        if seconds.count(NOTHING) < len(rows):
            self.two_ids += sum(map(_are_two, field_of(rows, "id"), seconds))


def _are_two(id: Raw, instance_id: Raw) -> bool:
    """Whether both spellings of an id hold one, and they differ."""
    try:
        one, other = value_of(id), value_of(instance_id)
    except UNREADABLE:
        return False
    return one != other and is_name(one) and is_name(other)


def checked_keep(keep: tuple[str, ...]) -> tuple[str, ...]:
    """The fields to keep, each once and sorted; EVERY_FIELD makes all others needless. Raises OptionsError."""
    if taken := ", ".join(sorted(IN_EVERY_SLICE & set(keep))):
        refuse([Mistake("‹keep›", f"{taken} is in every slice already", f"leave {taken} out")])
    return (EVERY_FIELD,) if EVERY_FIELD in keep else tuple(sorted(set(keep)))
