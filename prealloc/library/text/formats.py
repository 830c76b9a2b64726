"""How the tasks of a library lie in a text: in a JSON array, or one a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw

from prealloc.library.text.cursor import Cursor, Damage
from prealloc.library.unpack import PACKED_NAME

T = TypeVar("T")

_LINES_NAME = re.compile(rf"\.(jsonl|ndjson)({PACKED_NAME})?\Z", re.IGNORECASE)
_TASKS_FIRST = re.compile(rb'\{[ \t\n\r]*"tasks"')
_NOT_SPACE = re.compile(rb"[^ \t\n\r]")


class Format(Protocol):
    """A way tasks lie in a text."""

    lead: int
    """Bytes before the first task."""

    def tasks(self, text: bytes, row: type[T]) -> list[T]:
        """Every task, as a value of type `row`, in one pass.

        Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError where that cannot be.
        """

    def starts(self, text: memoryview) -> Iterator[int]:
        """The offset of each task, in order. Raises Damage at the first damage."""


class Array:
    """`[...]`, with no space around it."""

    lead = 1

    def tasks(self, text: bytes, row: type[T]) -> list[T]:
        return msgspec.json.decode(text, type=list[row])  # type: ignore[valid-type]

    def starts(self, text: memoryview) -> Iterator[int]:
        return Cursor(text).items(0)


class Lines:
    """One JSON object after the other, each on its line or on several; empty lines are skipped."""

    lead = 0

    def tasks(self, text: bytes, row: type[T]) -> list[T]:
        return msgspec.json.Decoder(row).decode_lines(text)

    def starts(self, text: memoryview) -> Iterator[int]:
        cursor = Cursor(text)
        at = cursor.skip_space(0)
        while at < len(text):
            yield at
            at = cursor.after(at)


def first_task(fmt: Format, text: bytes) -> bytes:
    """The text of the first task; nothing where there is none, or damage before its end."""
    with memoryview(text) as view:
        try:
            start = next(iter(fmt.starts(view)), None)
            return b"" if start is None else bytes(view[start : Cursor(view).after(start)])
        except Damage:
            return b""


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
