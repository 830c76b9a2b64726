"""Libraries that are one JSON document: `{"tasks": [...], ...}`, or the bare array of tasks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET

from prealloc.library.disk import Buffer
from prealloc.library.text.cursor import Cursor, Damage

T = TypeVar("T")

NO_TASKS = 'a JSON object without "tasks"'
_SHAPES = 'a library is {"tasks": [...]}, a bare [...], or one task a line'


class Document:
    """`{"tasks": [...]}`; other keys are skipped."""

    def tasks(self, text: Buffer, row: type[T]) -> list[T]:
        found: list[T] | msgspec.UnsetType = _decoder(cast("Hashable", row)).decode(text).tasks
        if found is UNSET:
            raise msgspec.ValidationError('no "tasks"')
        return found

    def starts(self, text: memoryview) -> Iterator[int]:
        cursor = Cursor(text)
        start, at = cursor.skip_space(0), None
        if cursor.byte(start) != b"{":
            raise Damage("this is neither a JSON object nor an array of tasks", start, hint=_SHAPES)
        for key, value in cursor.fields(start):
            if key == "tasks":
                refuse_tasks_twice(at is not None, value)
                at = value
                if cursor.byte(at) not in (b"[", b""):
                    refuse_no_tasks(at)
                # Here, so that of several damages the first in the file is told.
                yield from cursor.items(at)
        if at is None:
            refuse_no_tasks(start, there=False)
        _refuse_more(cursor, start)


class Array:
    """`[...]`."""

    def tasks(self, text: Buffer, row: type[T]) -> list[T]:
        return msgspec.json.decode(text, type=list[row])  # type: ignore[valid-type]

    def starts(self, text: memoryview) -> Iterator[int]:
        cursor = Cursor(text)
        start = cursor.skip_space(0)
        yield from cursor.items(start)
        _refuse_more(cursor, start)


@cache
def _decoder(row: Any) -> msgspec.json.Decoder[Any]:
    shape = msgspec.defstruct("Library", [("tasks", list[row] | msgspec.UnsetType, UNSET)])
    return msgspec.json.Decoder(shape)


def refuse_tasks_twice(found: bool, at: int) -> None:
    """Raises Damage for a second "tasks", whose value lies at `at`."""
    if found:
        raise Damage('the key "tasks" is there twice', at, hint='keep one "tasks"')


def refuse_no_tasks(at: int, *, there: bool = True) -> None:
    """Raises Damage for "tasks" that are not an array, or, if not `there`, for a document without any."""
    raise Damage('"tasks" is not an array' if there else NO_TASKS, at, hint=_SHAPES)


def first_task(fmt: Any, text: Buffer) -> bytes:
    """The text of the first task; nothing where there is none, or damage before its end."""
    with memoryview(text) as view:
        try:
            start = next(iter(fmt.starts(view)), None)
            return b"" if start is None else bytes(view[start : Cursor(view).after(start)])
        except Damage as damage:
            return b"{}" if damage.problem == NO_TASKS else b""


def _refuse_more(cursor: Cursor, start: int) -> None:
    end = cursor.after(start)
    if end < len(cursor.text):
        raise Damage("there is more text after the end of the library", end, hint="remove what follows the library")
