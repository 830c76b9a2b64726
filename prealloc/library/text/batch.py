"""Some tasks of a library: where each lies; and what is wrong with them: the slow and exact look after the quick one.

LibraryErrors tell file, task by index and id, byte and line, and the hint.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import MORE_TEXT, StrictJsonError, compact
from prealloc.library.formats import JSON_LINES, format_named
from prealloc.library.rows import NOTHING, field_of, fields_of, is_name, named
from prealloc.library.text.cursor import Cursor, Damage, Origin
from prealloc.library.text.refuse import not_utf8, python, rewrite, rewrite_json, way_out
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import ID_SPELLINGS, TYPE_SPELLINGS
from prealloc.model.words import shown

_WORKFLOW = re.compile(rb'"workflow"[ \t\n\r]*:[ \t\n\r]*')
_BEFORE = re.compile(rb"[ \t\n\r,\[]*")
_AFTER_VALUE = b" \t\n\r,}"
_TRIES = 16
_SMALL_TASK = 1024

_WINDOWS = (128 << 10, 1 << 20)
# How much of a damaged value is walked token by token. The larger one takes up to half a second.

_HINT = "fix the file at this place, or write it again with what made it"
_ALL = "d if isinstance(d, list) else max((v for v in d.values() if isinstance(v, list)), key=len)"
_TRUNCATED = "the file is truncated: copy or download it again"
_Own = msgspec.defstruct("_Own", [(name, Any, UNSET) for name in (*ID_SPELLINGS, *TYPE_SPELLINGS)])
_NAMES = 'give every task a string in "id" or "instance_id", and one in "task_type" or "type"'

_decoder = lru_cache(maxsize=8)(msgspec.json.Decoder)
# To make one takes as long as a small task: a batch may be one.

Place = tuple[int, Origin]
"""Where a task begins in a text that was put together, and where it comes from."""

Layout = Literal["array", "objects"]
"""How tasks lie in a text: `[...]`, with no space around it, or one object after the other; lines may be empty."""


@dataclass
class Batch:
    """Some tasks of a library, as a library of its own.

    Where they lie and what they say twice is known without decoding them all again: the workflows, which are most of
    it, are cut out first, since they are known as bytes and lie in order. What is left is small, and is decoded task
    by task. Of a key that is there twice msgspec silently takes the last: encoded again, the other is gone, and a
    colon with it.
    """

    layout: Layout
    text: bytearray
    origin: Origin
    """Its place in the whole."""
    places: Sequence[Place] = ()
    """Of tasks that each lie under a key, which is their id: apart from each other."""
    rows: Sequence[Any] = ()
    """The tasks, decoded."""
    title: str | None = None
    """What the document calls the list that they are in, where it is not "tasks"."""

    @property
    def where(self) -> str:
        return self.origin.source.where

    def decoded(self, text: bytearray, shape: Any) -> list[Any]:
        """Every task in its text, or in one of the same layout, as a value of a type. Raises UNREADABLE."""
        if self.layout == "objects":
            return _decoder(shape).decode_lines(text)
        found: list[Any] = _decoder(list[shape]).decode(text)
        return found

    def walk(self) -> Iterator[Cursor]:
        """Moves a cursor to each task in order, whatever it is, and gives it. Raises Damage at the first damage."""
        cursor = Cursor(self.text)
        for _ in cursor.fields() if self.layout == "array" else cursor.values():
            yield cursor

    def first(self) -> bytes:
        """The text of the first task; nothing where it is damaged."""
        with contextlib.suppress(Damage):
            for cursor in self.walk():
                return bytes(self.text[cursor.step() : cursor.at])
        return b""

    def place(self, index: int, offset: int = 0) -> str:
        """Where a task is, or what lies at an offset in it: file, task by index and id, byte and line."""
        start, _ = self.spans[index]
        return self.words(self.task(index, start), start + offset)

    def words(self, task: str, at: int, path: str = "") -> str:
        """Where a byte of the text is, in the task that some words say, at a path in it."""
        return ", ".join(filter(None, [self.where, task, self.at(at), path and f"at {path}"]))

    def at(self, offset: int) -> str:
        """Where a byte of the text is, by byte and line."""
        begins, origin = next((each for each in reversed(self.places) if each[0] <= offset), (0, self.origin))
        return origin.at(offset - begins, self.text.count(b"\n", begins, offset))

    def task(self, index: int, start: int) -> str:
        """`task 17 (id 'x')`, the id as far as it can be read."""
        ids, cursor = dict[str, Any](), Cursor(self.text, start)
        with contextlib.suppress(Damage, msgspec.DecodeError, UnicodeDecodeError):
            for key in cursor.fields():
                if key in ID_SPELLINGS and cursor.peek() == b'"':
                    ids[key] = msgspec.json.decode(self.text[cursor.step() : cursor.at])
        return self.origin.source.task(self.origin.task + index, ids.get("id", ids.get("instance_id")))

    @cached_property
    def _cut(self) -> _Cut:
        # For smaller tasks, cutting costs more than looking at all.
        flows = field_of(self.rows, "workflow") if len(self.text) >= _SMALL_TASK * len(self.rows) else ()
        return _without((flow for flow in flows if flow is not NOTHING), self.text)

    @cached_property
    def _left(self) -> list[Raw]:
        return self.decoded(self._cut.rest, Raw)

    @cached_property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Offset and length of each task."""
        (rest, cuts, gone), before_task = self._cut, _BEFORE.match
        found, at, gone_before = [], 0, 0
        for length in [len(memoryview(task)) for task in self._left]:
            at = before_task(rest, at).end()  # type: ignore[union-attr]  # it matches nothing too
            begin, at = at + gone_before, at + length
            gone_before = gone[bisect_left(cuts, at)]
            found.append((begin, at + gone_before - begin))
        return found

    @cached_property
    def texts(self) -> Sequence[Raw]:
        """The text of each task."""
        if self._cut.rest is self.text:
            return self._left
        view = memoryview(self.text)
        return [Raw(view[start : start + length]) for start, length in self.spans]

    def refuse_twice(self, watched: set[str] | None = None) -> None:
        """Raises LibraryError for a task that has one of these keys twice (None: any)."""
        rest = self._cut.rest
        tasks = self.decoded(rest, dict[str, Raw])
        if _are_all(tasks, rest):
            return
        for index, (task, text) in enumerate(zip(tasks, self._left, strict=True)):
            key = None if _are_all(task, bytearray(text)) else _twice(text, watched)
            if key is not None:
                problem, hint = f"the task has the key {shown(key)} twice", f"keep one {shown(key)}"
                raise LibraryError(problem, where=self.place(index), hint=hint)


def of_text(batch: Batch, shape: Any) -> LibraryError:
    """The error of a batch that could not be decoded."""
    decoder = msgspec.json.Decoder(shape)
    index, start = -1, -1
    try:
        for index, cursor in enumerate(batch.walk()):
            start = cursor.at
            if cursor.peek() != b"{":
                cursor.step()
                is_first = batch.origin.task + index == 0  # else most are objects
                more = f": {_rewritten(batch, 'dict(value=task)')}" if is_first else ""
                raise Damage("the task is not a JSON object", start, hint=f"make every task an object{more}")
            cursor.step(decoder)
    except Damage as damage:
        return of_damage(batch, damage, index, start)
    return LibraryError("it cannot be read as a task library", where=batch.where, hint=_HINT)


def of_damage(batch: Batch, damage: Damage, index: int = -1, start: int = -1) -> LibraryError:
    """The error of a damage; `index` and `start` are of the last task that was reached, if it is in this text."""
    problem, at, path = damage.problem, damage.at, ""
    if damage.value is not None and (found := _look_into(batch.text, damage.value)):
        problem, at, path = found.problem, damage.value + (found.offset or 0), found.path or ""
    hint = damage.hint or (_TRUNCATED if "the text ends" in problem else _HINT)
    hint += way_out(problem, batch.where)
    if start in (damage.at, damage.value):  # the task is at fault, or is the value that is
        return LibraryError(problem, where=batch.words(batch.task(index, start), at, path), hint=hint)
    before = batch.origin.task + index
    task = f"after task {before}" if before >= 0 else ""
    return LibraryError(problem, where=batch.words(task, at), hint=hint)


def of_encoding(batch: Batch, reason: str, place: Origin) -> LibraryError:
    """The error of a byte that UTF-8 does not have, in the last task of a batch or behind it."""
    last: tuple[int, int] | None = None
    with contextlib.suppress(Damage):
        for index, cursor in enumerate(batch.walk()):
            last = index, cursor.at
    task = "" if last is None else batch.task(*last)
    where = ", ".join(filter(None, [batch.where, task, place.at()]))
    return LibraryError(f"this is not UTF-8: {reason}", where=where, hint=not_utf8(batch.where))


def of_names(batch: Batch) -> LibraryError:
    """The error of the first task whose id or type cannot be one."""
    found = ((index, named(row)) for index, row in enumerate(batch.rows))
    try:
        index, (task_id, task_type) = next(each for each in found if not all(map(is_name, each[1])))
    except UNREADABLE:
        return of_text(batch, _Own)
    what, value = ("type", task_type) if is_name(task_id) else ("id", task_id)
    if value is UNSET:
        spellings = " or ".join(f'"{name}"' for name in (TYPE_SPELLINGS if what == "type" else ID_SPELLINGS))
        problem = f"the task has no {what} ({spellings})"
    elif not isinstance(value, str):
        problem = f"the task's {what} is not a string: {shown(value)}"
    elif value:
        problem = f"the task's {what} holds a zero character: {shown(value)}"
    else:
        problem = f"the task's {what} is empty"
    hint = _NAMES
    if what == "type" and value is None:
        name = "task_type" if "task_type" in fields_of(batch.texts[index]) else "type"
        filled = _rewritten(batch, f"{{**task, {name!r}: task.get({name!r}) or 'none'}}")
        hint = f"{_NAMES}; with 'none' for null: {filled}"
    return LibraryError(problem, where=batch.place(index), hint=hint)


def _rewritten(batch: Batch, task: str) -> str:
    """A command that makes of each task what a Python expression says."""
    if batch.layout == "array" and format_named(batch.where) is not JSON_LINES:  # or a list in each line
        return rewrite_json(batch.where, f"[{task} for task in ({_ALL})]")
    code = f"import json, sys; [print(json.dumps({task})) for task in map(json.loads, sys.stdin)]"
    return rewrite(batch.where, python(code))


def _look_into(text: bytearray, at: int) -> StrictJsonError | None:
    """The exact problem of the damaged value that begins at `at`, if it shows within bounds."""
    for size in _WINDOWS:
        window = bytes(text[at : at + size])
        try:
            compact(window)
        except StrictJsonError as error:
            if error.problem == MORE_TEXT:  # the value itself is fine: something else was wrong with it
                return None
            whole = at + len(window) >= len(text)
            if whole or (error.offset is not None and error.offset < len(window) - 16):
                return error
    return None


def _are_all(fields: Any, text: bytearray) -> bool:
    """Whether these are surely all fields of a text, as often as they are there: a colon is lost with each other."""
    return text.count(b":") == msgspec.json.encode(fields).count(b":") and b"\\u003" not in text  # \u003a is one too


class _Cut(NamedTuple):
    """A text without its workflows."""

    rest: bytearray
    """It, with a 0 in place of each."""
    cuts: list[int]
    """Where each 0 is."""
    gone: list[int]
    """How many bytes are gone in front of each 0, and in all."""


def _without(workflows: Iterable[Raw], text: bytearray) -> _Cut:
    """The text without these workflows, as far as they are found."""
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
    return _Cut(bytearray().join((*pieces, text[done:])) if pieces else text, cuts, gone)


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


def _twice(task: Raw, watched: set[str] | None) -> str | None:
    seen = set()
    for key in Cursor(bytes(task)).fields():
        if key in seen and (watched is None or key in watched):
            return key
        seen.add(key)
    return None
