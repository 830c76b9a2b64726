"""How the tasks of a library lie in a text: in a JSON array, or one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from prealloc.library.text.cursor import Cursor
from prealloc.library.unpack import PACKED_NAME

_LINES_NAME = re.compile(rf"\.(jsonl|ndjson)({PACKED_NAME})?\Z", re.IGNORECASE)
_TASKS_FIRST = re.compile(rb'\{[ \t\n\r]*"tasks"')
_NOT_SPACE = re.compile(rb"[^ \t\n\r]")


class Format(NamedTuple):
    """A way tasks lie in a text."""

    lead: int
    """Bytes before the first task."""
    tasks: Callable[[bytes, Any], list[Any]]
    """Every task of a text, as a value of a type, in one pass. Raises UNREADABLE where that cannot be."""
    starts: Callable[[memoryview], Iterator[int]]
    """The offset of each task, in order. Raises Damage at the first damage."""


def _starts_in_lines(text: memoryview) -> Iterator[int]:
    cursor = Cursor(text)
    at = cursor.skip_space(0)
    while at < len(text):
        yield at
        at = cursor.after(at)


ARRAY = Format(1, lambda text, row: msgspec.json.decode(text, type=list[row]), lambda text: Cursor(text).items(0))  # type: ignore[valid-type]
"""`[...]`, with no space around it."""

OBJECTS = Format(0, lambda text, row: msgspec.json.Decoder(row).decode_lines(text), _starts_in_lines)
"""One JSON object after the other, each on its line or on several; empty lines are skipped."""


class _FirstLine(msgspec.Struct):
    tasks: Raw | msgspec.UnsetType = UNSET
    id: Raw | msgspec.UnsetType = UNSET
    instance_id: Raw | msgspec.UnsetType = UNSET


def is_lines(text: bytes, name: str) -> bool:
    """Whether a text is one task a line, and no document, by its first line, what follows, and its file's name."""
    start = _NOT_SPACE.search(text)
    if start is None or start[0] != b"{":
        return False
    at = start.start()
    by_name = _LINES_NAME.search(name) is not None
    end = text.find(b"\n", at)
    end = len(text) if end < 0 else end
    more = _NOT_SPACE.search(text, end) is not None
    if not more and not by_name and _TASKS_FIRST.match(text, at):
        return False  # nearly every document of one line: not read twice to know it
    try:
        with memoryview(text) as view:
            first = msgspec.json.decode(view[at:end], type=_FirstLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return by_name  # {"tasks": [ in the first line, the tasks in others
    has_id = first.id is not UNSET or first.instance_id is not UNSET
    if not more and not by_name:  # one line by itself: a document, or the only task
        return has_id and first.tasks is UNSET
    # A task may well have a field "tasks"; then it has an id too.
    is_task = first.tasks is UNSET or has_id
    return is_task or (by_name and more)
