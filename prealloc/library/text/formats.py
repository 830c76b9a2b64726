"""How the tasks of a library lie in its bytes: one small class per format, and the choice among them.

| format | bytes |
| --- | --- |
| `Document` | one JSON object `{"tasks": [...], ...}` |
| `Array` | one JSON array of tasks |
| `Lines` | one task a line (JSON lines), known by the name or by the first line |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw

from prealloc.library.disk import Buffer
from prealloc.library.text.cursor import Cursor
from prealloc.library.text.document import Array, Document
from prealloc.library.unpack import PACKED_NAME

T = TypeVar("T")

_LINES_NAME = re.compile(rf"\.(jsonl|ndjson)({PACKED_NAME})?\Z", re.IGNORECASE)
_TASKS_FIRST = re.compile(rb'\{[ \t\n\r]*"tasks"')
_NOT_SPACE = re.compile(rb"[^ \t\n\r]")


class Format(Protocol):
    """A way tasks lie in a text."""

    def tasks(self, text: Buffer, row: type[T]) -> list[T]:
        """Every task, as a value of type `row`, in one pass.

        Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError where that cannot be.
        """

    def starts(self, text: memoryview) -> Iterator[int]:
        """The offset of each task, in order. Raises Damage at the first damage."""


class Lines:
    """One JSON object after the other, each on its line; empty lines are skipped."""

    def tasks(self, text: Buffer, row: type[T]) -> list[T]:
        return msgspec.json.Decoder(row).decode_lines(text)

    def starts(self, text: memoryview) -> Iterator[int]:
        cursor = Cursor(text)
        at = cursor.skip_space(0)
        while at < len(text):
            yield at
            at = cursor.after(at)


class _FirstLine(msgspec.Struct):
    tasks: Raw | msgspec.UnsetType = UNSET
    id: Raw | msgspec.UnsetType = UNSET
    instance_id: Raw | msgspec.UnsetType = UNSET


def choose_format(text: Buffer, name: str) -> Format:
    """The format of a text that has more than whitespace in it, by its first line and its file's name."""
    start = _NOT_SPACE.search(text)
    assert start is not None  # noqa: S101  # narrows the type
    at = start.start()
    if text[at : at + 1] == b"[":
        return Array()
    if text[at : at + 1] != b"{":
        return Document()
    by_name = _LINES_NAME.search(name) is not None
    end = text.find(b"\n", at)
    end = len(text) if end < 0 else end
    more = _NOT_SPACE.search(text, end) is not None
    if not more and not by_name and _TASKS_FIRST.match(text, at):
        return Document()  # nearly every document of one line: not read twice to know it
    try:
        with memoryview(text) as view:
            first = msgspec.json.decode(view[at:end], type=_FirstLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Lines() if by_name else Document()  # {"tasks": [ in the first line, the tasks in others
    has_id = first.id is not UNSET or first.instance_id is not UNSET
    if not more and not by_name:  # one line by itself: a document, or the only task
        return Lines() if has_id and first.tasks is UNSET else Document()
    # A task may well have a field "tasks"; then it has an id too.
    is_task = first.tasks is UNSET or has_id
    return Lines() if is_task or (by_name and more) else Document()
