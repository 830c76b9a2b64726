"""How the tasks of a library lie in a text: in a JSON array or one a line, where each is, and what it says twice."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from prealloc.library.rows import NOTHING, field_of
from prealloc.library.text.cursor import Cursor

_WORKFLOW = re.compile(rb'"workflow"[ \t\n\r]*:[ \t\n\r]*')
_BEFORE = re.compile(rb"[ \t\n\r,\[]*")
_AFTER_VALUE = b" \t\n\r,}"
_TRIES = 16
_SMALL_TASK = 1024


class Format(NamedTuple):
    """A way tasks lie in a text."""

    tasks: Callable[[bytearray, Any], list[Any]]
    """Every task of a text, as a value of a type, in one pass. Raises UNREADABLE where that cannot be."""
    walk: Callable[[Cursor], Iterator[str]]
    """Goes to each task in order. Raises Damage at the first damage."""


ARRAY = Format(lambda text, row: msgspec.json.decode(text, type=list[row]), Cursor.fields)  # type: ignore[valid-type]
"""`[...]`, with no space around it."""

OBJECTS = Format(lambda text, row: msgspec.json.Decoder(row).decode_lines(text), Cursor.values)
"""One JSON object after the other, each on its line or on several; empty lines are skipped."""


class Layout:
    """The tasks of a text as they lie in it. `rows` are the same, decoded.

    Decoding a batch of large tasks again would double the work, so the workflows, which are most of it, are cut out
    first: they are known as bytes and lie in order. What is left is small, and is decoded task by task: that tells
    where each lies, and whether one says anything twice, of which msgspec silently takes the last. Encoded again, a
    key that was there twice is gone, and a colon with it.
    """

    def __init__(self, fmt: Format, text: bytearray, rows: Sequence[Any]) -> None:
        self._fmt = fmt
        self._text = text
        # For smaller tasks, cutting costs more than looking at all.
        flows = field_of(rows, "workflow") if len(text) >= _SMALL_TASK * len(rows) else ()
        self._rest, self._cuts, self._gone = _without((flow for flow in flows if flow is not NOTHING), text)
        self._left = fmt.tasks(self._rest, Raw)

    @cached_property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Offset and length of each task."""
        found, at, before = [], 0, 0
        rest, cuts, gone, before_task = self._rest, self._cuts, self._gone, _BEFORE.match
        for length in [len(memoryview(task)) for task in self._left]:
            at = before_task(rest, at).end()  # type: ignore[union-attr]  # it matches nothing too
            begin, at = at + before, at + length
            before = gone[bisect_left(cuts, at)]
            found.append((begin, at + before - begin))
        return found

    @cached_property
    def texts(self) -> Sequence[Raw]:
        """The text of each task."""
        if self._rest is self._text:
            return self._left
        view = memoryview(self._text)
        return [Raw(view[start : start + length]) for start, length in self.spans]

    def key_twice(self, watched: frozenset[str] | None) -> tuple[int, str] | None:
        """Position and key of the first task that has one of these keys twice (None: any); None if none."""
        tasks = self._fmt.tasks(self._rest, dict[str, Raw])
        if not _are_all(tasks, self._rest):
            for position, (task, text) in enumerate(zip(tasks, self._left, strict=True)):
                key = None if _are_all(task, bytearray(text)) else _twice(text, watched)
                if key is not None:
                    return position, key
        return None


def _are_all(fields: Any, text: bytearray) -> bool:
    """Whether these are surely all fields of a text, as often as they are there: a colon is lost with each other."""
    return text.count(b":") == msgspec.json.encode(fields).count(b":") and b"\\u003" not in text  # \u003a is one too


def _without(workflows: Iterable[Raw], text: bytearray) -> tuple[bytearray, list[int], list[int]]:
    """The text with a 0 in place of each workflow, as far as they are found; where each 0 is; what they cut, summed."""
    pieces, cuts, gone, done = list[bytes | bytearray](), list[int](), [0], 0
    for workflow in workflows:
        with memoryview(workflow) as raw:
            at = _find_value(text, done, raw)
            if at is None:  # it stays where it is, and so do those behind it
                break
            pieces += [text[done:at], b"0"]
            cuts.append(at - gone[-1])
            gone.append(gone[-1] + len(raw) - 1)
            done = at + len(raw)
    return bytearray().join((*pieces, text[done:])) if pieces else text, cuts, gone


def _find_value(text: bytearray, start: int, raw: memoryview) -> int | None:
    """Where the next `"workflow"` with this value lies, searched from the end of the one before.

    It may be a field of the same name deeper in the task. That does no harm: the bytes are the same and stand
    in a value's place, so what is left has the same keys.
    """
    for _ in range(_TRIES):
        match = _WORKFLOW.search(text, start)
        if match is None:
            return None
        start, end = match.end(), match.end() + len(raw)
        # startswith: memoryviews compare byte by byte, 25 times slower.
        if text.startswith(raw, start) and text[end : end + 1] in _AFTER_VALUE:
            return start
    return None


def _twice(task: Raw, watched: frozenset[str] | None) -> str | None:
    seen = set()
    for key in Cursor(bytes(task)).fields():
        if key in seen and (watched is None or key in watched):
            return key
        seen.add(key)
    return None
