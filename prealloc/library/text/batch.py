"""Some tasks of a library; and what is wrong with them: the slow and exact look after the quick one has failed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from prealloc.errors import LibraryError
from prealloc.files.strict_json import MORE_TEXT, StrictJsonError, compact
from prealloc.library.base import refused
from prealloc.library.formats import JSON_LINES, format_named
from prealloc.library.rows import fields_of, is_name, named
from prealloc.library.text.cursor import Cursor, Damage
from prealloc.library.text.formats import ARRAY, Format, Layout
from prealloc.library.text.refuse import not_utf8, python, rewrite, rewrite_json, way_out
from prealloc.library.text.sources import Source
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import ID_SPELLINGS, TYPE_SPELLINGS
from prealloc.model.words import shown

_WINDOWS = (128 << 10, 1 << 20)
# How much of a damaged value is walked token by token. The larger one takes up to half a second.

_HINT = "fix the file at this place, or write it again with what made it"
_ALL = "d if isinstance(d, list) else max((v for v in d.values() if isinstance(v, list)), key=len)"
_TRUNCATED = "the file is truncated: copy or download it again"
_Own = msgspec.defstruct("_Own", [(name, Any, UNSET) for name in (*ID_SPELLINGS, *TYPE_SPELLINGS)])
_NAMES = 'give every task a string in "id" or "instance_id", and one in "task_type" or "type"'


class Origin(NamedTuple):
    """Where a text begins in the library that it is a part of: at which task, byte and line, all from 0."""

    source: Source
    task: int
    byte: int
    line: Callable[[], int] | None
    """Asked for a message only: who counts lines looks at every byte. None in lines made of something else."""

    def at(self, offset: int = 0, lines: int = 0) -> str:
        """Where a byte of the text lies in the library, in words; `lines` begin before it. Nothing where none are."""
        return "" if self.line is None else f"byte {self.byte + offset}, line {self.line() + lines + 1}"


@dataclass
class Batch:
    """Some tasks of a library, as a library of its own: who they are, where they lie, and what is wrong with them.

    Its LibraryErrors tell file, task by index and id, byte and line, and the hint.
    """

    fmt: Format
    text: bytearray
    origin: Origin
    """Its place in the whole."""
    key: str | None = None
    """Of the only task, if it lies under a key of its own, which is its id."""
    rows: Sequence[Any] = ()
    """The tasks, decoded."""
    title: str | None = None
    """What the document calls the list that they are in, where it is not "tasks"."""

    @property
    def where(self) -> str:
        return self.origin.source.where

    def refuse_twice(self, watched: frozenset[str] | None = None) -> None:
        """Raises LibraryError for a task that has one of these keys twice (None: any)."""
        if found := self.layout.key_twice(watched):
            index, key = found[0], shown(found[1])
            raise LibraryError(f"the task has the key {key} twice", where=self._at_task(index), hint=f"keep one {key}")

    @cached_property
    def layout(self) -> Layout:
        """How the tasks lie in the text. Asked for when they are decoded."""
        return Layout(self.fmt, self.text, self.rows)

    def first(self) -> bytes:
        """The text of the first task; nothing where it is damaged."""
        with contextlib.suppress(Damage):
            for start in self.fmt.starts(self.text):
                return bytes(self.text[start : Cursor(self.text).after(start)])
        return b""

    def of_text(self, shape: Any) -> LibraryError:
        """The error of a library that could not be decoded."""
        decoder = msgspec.json.Decoder(shape)
        index, start = -1, None
        cursor = Cursor(self.text)
        try:
            for index, start in enumerate(self.fmt.starts(self.text)):
                if cursor.byte(start) != b"{":
                    cursor.after(start)
                    is_first = self.origin.task + index == 0  # else most are objects
                    hint = f"make every task an object{': ' + self._rewritten('dict(value=task)') if is_first else ''}"
                    raise Damage("the task is not a JSON object", start, hint=hint)
                cursor.after(start, decoder)
        except Damage as damage:
            return self.of_damage(damage, index, start)
        return LibraryError("it cannot be read as a task library", where=self.where, hint=_HINT)

    def of_damage(self, damage: Damage, index: int = -1, start: int | None = None) -> LibraryError:
        """The error of a damage; `index` and `start` are of the last task that was reached, if it is in this text."""
        problem, at, path = damage.problem, damage.at, ""
        if damage.inside is not None:
            at = damage.inside
            if found := self._look_into(damage.at):
                problem, at, path = found.problem, damage.at + (found.offset or 0), found.path or ""
        hint = damage.hint or (_TRUNCATED if "the text ends" in problem else _HINT)
        hint += way_out(problem, self.where)
        if damage.at == start:
            return LibraryError(problem, where=self._place(self._task(index, start), at, path), hint=hint)
        before = self.origin.task + index
        task = f"after task {before}" if before >= 0 else ""
        return LibraryError(problem, where=self._place(task, at), hint=hint)

    def of_encoding(self, reason: str, place: Origin) -> LibraryError:
        """The error of a byte that UTF-8 does not have, in the last task of this text or behind it."""
        index = start = -1
        with contextlib.suppress(Damage):
            for found in self.fmt.starts(self.text):
                index, start = index + 1, found
        task = self._task(index, start) if index >= 0 else ""
        where = ", ".join(filter(None, [self.where, task, place.at()]))
        return LibraryError(f"this is not UTF-8: {reason}", where=where, hint=not_utf8(self.where))

    def of_names(self) -> LibraryError:
        """The error of the first task whose id or type cannot be one."""
        index, row = next((i, row) for i, row in enumerate(self.rows) if not _is_named(row))
        try:
            task_id, task_type = named(row)
        except UNREADABLE:
            return self.of_text(_Own)
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
            name = "task_type" if "task_type" in fields_of(self.layout.texts[index]) else "type"
            filled = self._rewritten(f"{{**task, {name!r}: task.get({name!r}) or 'none'}}")
            hint = f"{_NAMES}; with 'none' for null: {filled}"
        return LibraryError(problem, where=self._at_task(index), hint=hint)

    def of_task(self, index: int, error: StrictJsonError) -> LibraryError:
        """The error of a task that strict JSON refuses somewhere in its object."""
        return refused(error, self._at_task(index, error.offset or 0))

    def _rewritten(self, task: str) -> str:
        """A command that makes of each task what a Python expression says."""
        if self.fmt is ARRAY and format_named(self.where) is not JSON_LINES:  # or a list in each line
            return rewrite_json(self.where, f"[{task} for task in ({_ALL})]")
        code = f"import json, sys; [print(json.dumps({task})) for task in map(json.loads, sys.stdin)]"
        return rewrite(self.where, python(code))

    def _look_into(self, at: int) -> StrictJsonError | None:
        """The exact problem of the damaged value that begins at `at`, if it shows within bounds."""
        for size in _WINDOWS:
            window = bytes(self.text[at : at + size])
            try:
                compact(window)
            except StrictJsonError as error:
                if error.problem == MORE_TEXT:  # the value itself is fine: something else was wrong with it
                    return None
                whole = at + len(window) >= len(self.text)
                if whole or (error.offset is not None and error.offset < len(window) - 16):
                    return error
        return None

    def _at_task(self, index: int, offset: int = 0) -> str:
        """Where a task is, or what lies at an offset in it."""
        start, _ = self.layout.spans[index]
        return self._place(self._task(index, start), start + offset)

    def _task(self, index: int, start: int) -> str:
        """`task 17 (id 'x')`, the id as far as it can be read."""
        ids, cursor = dict[str, Any](), Cursor(self.text)
        with contextlib.suppress(Damage, msgspec.DecodeError, UnicodeDecodeError):
            for key, at in cursor.fields(start):
                if key in ("id", "instance_id") and cursor.byte(at) == b'"':
                    ids[key] = msgspec.json.decode(self.text[at : cursor.after(at)])
        return self.origin.source.task(self.origin.task + index, ids.get("id", ids.get("instance_id")))

    def _place(self, task: str, at: int, path: str = "") -> str:
        place = self.origin.at(at, self.text.count(b"\n", 0, at))
        return ", ".join(filter(None, [self.where, task, place, path and f"at {path}"]))


def _is_named(row: Any) -> bool:
    """Whether our spellings give a task an id and a type."""
    try:
        return all(map(is_name, named(row)))
    except UNREADABLE:
        return False
