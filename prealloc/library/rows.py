"""The fields of tasks, of many at once: as the bytes that they are in the text, and as values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
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


def fields_of(text: bytes | bytearray | Raw) -> dict[str, Raw]:
    """The fields of an object by name, as they lie in its text; empty if the text is not an object."""
    with suppress(*UNREADABLE):
        return FIELDS.decode(text)
    return {}


def texts_at(rows: Sequence[Any], path: str) -> list[Raw]:
    """A field of each of these tasks: that of this name, or `a.b` as b in the object a; NOTHING where it is missing."""
    texts, (head, _, rest) = field_of(rows, path), path.partition(".")
    if not rest or NOTHING not in texts:
        return texts
    inside = texts_at([*map(fields_of, field_of(rows, head))], rest)
    return [deeper if text is NOTHING else text for text, deeper in zip(texts, inside, strict=True)]


def values_at(rows: Sequence[Any], path: str) -> list[Any]:
    """The value of such a field in each task; None if it is missing or cannot be decoded, as if it were null."""
    texts = texts_at(rows, path)
    if texts.count(NOTHING) == len(texts):
        return [None] * len(texts)
    texts = [NULL if text is NOTHING else text for text in texts]
    try:  # of all at once, which is many times quicker
        return msgspec.json.decode(b"[%b]" % b",".join(texts), type=list[Any])
    except UNREADABLE:
        return [value for row in rows for value in values_at([row], path)] if len(rows) > 1 else [None]


def named(row: Any) -> tuple[Any, Any]:
    """Id and type of a task by our spellings, whatever they are; UNSET where it has none. Raises UNREADABLE.

    `id` and `task_type` come first, unless only the other can be one.
    """
    return _first_name(row, ID_SPELLINGS), _first_name(row, TYPE_SPELLINGS)


def _first_name(row: Any, spellings: Iterable[str]) -> Any:
    values = [msgspec.json.decode(text) for name in spellings for text in field_of([row], name) if text is not NOTHING]
    return next(filter(is_name, values), values[0] if values else UNSET)


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
        if all(field_of(rows, name).count(NOTHING) < len(rows) for name in ID_SPELLINGS):
            pairs = zip(*(values_at(rows, name) for name in ID_SPELLINGS), strict=True)
            self.two_ids += sum(one != other and is_name(one) and is_name(other) for one, other in pairs)


def checked_keep(keep: tuple[str, ...]) -> tuple[str, ...]:
    """The fields to keep, each once and sorted; EVERY_FIELD makes all others needless. Raises OptionsError."""
    if taken := ", ".join(sorted(IN_EVERY_SLICE & set(keep))):
        refuse([Mistake("‹keep›", f"{taken} is in every slice already", f"leave {taken} out")])
    return (EVERY_FIELD,) if EVERY_FIELD in keep else tuple(sorted(set(keep)))
