"""JSON libraries in one pass and in little memory: a library of any size, as small libraries one after the other.

What a library of 6 GB may hold and what it may not is the same as for one of 6 KB, so the pieces go through the
very same scan. All that is new here is where to cut: behind a whole task.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.text.cursor import TOO_SHORT, Cursor, Damage
from prealloc.library.text.diagnose import Diagnosis, Origin
from prealloc.library.text.document import Array, first_task, refuse_no_tasks, refuse_tasks_twice
from prealloc.library.text.formats import Format, Lines, choose_format
from prealloc.library.text.refuse import refuse_binary, refuse_unread
from prealloc.library.text.sources import LINES
from prealloc.library.text.structure import key_twice
from prealloc.model.document import UNREADABLE

BATCH = 8 << 20
"""Bytes that are scanned at once; a task that is larger is a batch of its own."""

_SPACE = b" \t\n\r"
_WHOLE = -1
# In place of an offset: damage of the document as a whole.

_LONGEST_TOKEN = 32
# How far before the end of a cut text the damage may be told: numbers are told at their end, the others are short.

_MOST_FIRST = 64 << 20
# A file that has no line break so far is one document.


class Batch(NamedTuple):
    """Some tasks of a library, as a library of its own."""

    fmt: Format
    text: bytes
    origin: Origin
    """Its byte and line in the whole; how many tasks are before it, the reader counts."""
    key: str | None = None
    """Of the only task, if it lies under a key of its own, which is its id."""

    def diagnosis(self, where: str, task: int) -> Diagnosis:
        """Tells what is wrong in here by its place in the whole; `task` is the index of its first task."""
        return Diagnosis(self.fmt, self.text, where, self.origin._replace(task=task))

    def first(self) -> bytes:
        """The text of the first task; nothing where it is damaged."""
        return first_task(self.fmt, self.text)

    def objects(self, where: str, task: int) -> list[dict[str, msgspec.Raw]]:
        """The tasks with all their fields. Raises LibraryError, also for keys said twice in a task."""
        diagnosis = self.diagnosis(where, task)
        try:
            found = self.fmt.tasks(self.text, dict[str, msgspec.Raw])
        except UNREADABLE:
            raise diagnosis.of_text(dict[str, msgspec.Raw]) from None
        if twice := key_twice(self.fmt, self.text, None):
            raise diagnosis.of_key_twice(*twice)
        return found


def batches(pieces: Iterator[bytes], name: str, where: str) -> Iterator[Batch]:
    """Cuts a library that comes in pieces, unpacked. Raises LibraryError for damage around the tasks.

    Damage inside a task is left to who scans the batch.
    """
    window = _Window(_checked(pieces, where), where)
    while b"\n" not in window.text.lstrip(_SPACE) and len(window.text) < _MOST_FIRST and window.grow():
        pass
    window.grow()  # what follows the first line tells lines from a document
    if not window.text.strip(_SPACE):
        while window.grow() and not window.text.strip(_SPACE):
            window.drop(len(window.text))
    if window.text.startswith(codecs.BOM_UTF8):
        window.drop(len(codecs.BOM_UTF8))
    if name == LINES and not window.text.strip(_SPACE):
        return  # there were no rows
    refuse_unread(window.text, where)
    fmt = choose_format(bytes(window.text), name)
    if isinstance(fmt, Lines):
        yield from _lines(window)
        return
    try:
        at = window.skip_space(0)
        window.begin = window.origin(at)
        yield from _array(window, at) if window.byte(at) == b"[" else _document(window, at)
    except Damage as damage:
        raise window.error(damage) from None


class _Window:
    """The part of the text that is held, and where it lies in the whole."""

    def __init__(self, pieces: Iterator[bytes], where: str) -> None:
        self._pieces = pieces
        self._where = where
        self.text = bytearray()
        self.dropped = 0
        self.lines = 0
        self.begin = Origin()
        """Where the document begins."""
        self.ended = False

    def grow(self) -> bool:
        """Takes in more of the text, at least as much again as there is. False: that is all of it."""
        before = len(self.text)
        while not self.ended and len(self.text) - before < max(before, 1):
            piece = next(self._pieces, None)
            if piece is None:
                self.ended = True
            else:
                self.text += piece
        return len(self.text) > before

    def drop(self, size: int) -> None:
        """Lets go of the first bytes."""
        self.lines += self.text.count(b"\n", 0, size)
        self.dropped += size
        del self.text[:size]

    def byte(self, at: int) -> bytes:
        """The byte at an offset; nothing behind the end of the whole text."""
        while at >= len(self.text) and self.grow():
            pass
        return bytes(self.text[at : at + 1])

    def skip_space(self, at: int) -> int:
        while True:
            with memoryview(self.text) as view:
                found = Cursor(view).skip_space(at)
            if found < len(self.text) or not self.grow():
                return found

    def after(self, at: int) -> int:
        """The offset behind the value that begins at `at`, and the whitespace that follows it. Raises Damage."""
        while True:
            try:
                with memoryview(self.text) as view:
                    end = Cursor(view).after(at)
                # A value that ends with what is held may go on: 12 and then 34.
                if end < len(self.text) or not self.grow():
                    return end
            except Damage as damage:
                if not self._may_be_cut(damage) or not self.grow():
                    raise

    def _may_be_cut(self, damage: Damage) -> bool:
        """Whether the damage may be only where the held text ends: a half of `-1`, of `true`, of an escape."""
        inside = damage.at if damage.inside is None else damage.inside
        return damage.problem == TOO_SHORT or inside >= len(self.text) - _LONGEST_TOKEN

    def key(self, at: int) -> tuple[str, int]:
        """The key of an object that begins at `at`, and the offset of its value. Raises Damage."""
        self.skip_space(self.after(at))  # so that all of it is held
        self.skip_space(self.after(at) + 1)
        with memoryview(self.text) as view:
            return Cursor(view).read_key(at)

    def expect(self, at: int, *marks: bytes) -> bytes:
        """The byte at `at`, which must be one of these. Raises Damage."""
        self.byte(at)
        with memoryview(self.text) as view:
            Cursor(view).expect(at, *marks)
        return bytes(self.text[at : at + 1])

    def origin(self, at: int, lead: int = 0) -> Origin:
        """Where a text begins that has `lead` bytes of ours in front of what lies at `at`."""
        return Origin(0, self.dropped + at - lead, self.lines + self.text.count(b"\n", 0, at))

    def error(self, damage: Damage) -> LibraryError:
        """The error of damage that lies outside the tasks."""
        at = damage.at if damage.inside is None else damage.inside
        if at == _WHOLE:
            origin, at = self.begin, self.begin.byte - self.dropped
        else:
            origin = self.origin(min(at, len(self.text)))
        return LibraryError(
            damage.problem,
            where=f"{self._where}, byte {self.dropped + at}, line {origin.line + 1}",
            hint=damage.hint or "fix the file at this place, or write it again with what made it",
        )


def _lines(window: _Window) -> Iterator[Batch]:
    while window.text or window.grow():
        while not (end := _end_of_tasks(window.text)) and window.grow():
            pass
        text = bytes(window.text[: end or len(window.text)])
        if text.strip(_SPACE):
            yield Batch(Lines(), text, window.origin(0))
        window.drop(len(text))


def _end_of_tasks(text: bytearray) -> int:
    """Where the last task begins whose beginning is held, if that is far enough in the text; else 0.

    Between tasks, and nowhere else in JSON, a line break stands between `}` and `{`: a task may have several lines.
    """
    at = len(text)
    while at >= BATCH and (at := text.rfind(b"\n", 0, at)) > 0:
        before, behind = at - 1, at + 1
        while before > 0 and text[before] in _SPACE:
            before -= 1
        while behind < len(text) and text[behind] in _SPACE:
            behind += 1
        if text[before : before + 1] == b"}" and text[behind : behind + 1] == b"{":
            return behind
    return 0


def _document(window: _Window, at: int) -> Iterator[Batch]:
    """`{"tasks": [...], ...}`. What is beside the tasks is only stepped over.

    Without "tasks" it is the only list of objects that is there, or all values, if every one is an object. Which is
    known at the end; until then they are held.
    """
    found = False
    lists: list[tuple[str, list[Batch]]] = []
    keyed: list[Batch] | None = []
    window.expect(at, b"{")
    at = window.skip_space(at + 1)
    mark = window.byte(at)
    while mark != b"}":
        key, at = window.key(at)
        opening = window.byte(at)
        if key == "tasks":
            refuse_tasks_twice(found, at)
            found = True
            if opening not in (b"[", b""):
                refuse_no_tasks(at)
            yield from _items(window, at)
            at = window.skip_space(1)
        elif not found and opening == b"[" and window.byte(window.skip_space(at + 1)) == b"{":
            lists.append((key, list(_items(window, at))))
            at = window.skip_space(1)
        else:
            end = window.after(at)
            if opening == b"{" and keyed is not None and not found:
                keyed.append(_keyed(window, key, at, end))
            else:
                keyed = None
            at = end
        mark = window.expect(at, b",", b"}")
        if mark == b",":
            at = window.skip_space(at + 1)
            window.expect(at, b'"')
        window.drop(at)
        at = 0
    if not found:
        yield from _untitled(lists, keyed)
    _refuse_more(window, at + 1)


def _keyed(window: _Window, key: str, at: int, end: int) -> Batch:
    """The task that lies under this key: its `id`, if it has none."""
    text, id = bytes(window.text[at:end]), b'"id":' + msgspec.json.encode(key)
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    lead = b"[" if "id" in fields else b"[{" + id + (b"," if fields else b"")
    cut = 0 if "id" in fields else 1
    return Batch(Array(), lead + text[cut:] + b"]", window.origin(at + cut, lead=len(lead)), key)


def _untitled(lists: list[tuple[str, list[Batch]]], keyed: list[Batch] | None) -> Iterator[Batch]:
    """The tasks of a document that does not call them so. Raises Damage."""
    if len(lists) > 1:
        names = ", ".join(ascii(name) for name, _ in lists[:10])
        hint = 'name the list of tasks "tasks", or give it alone: jq .NAME FILE | prealloc plan -'
        raise Damage(f"several lists in it may be the tasks: {names}", _WHOLE, hint=hint)
    if lists:
        yield from lists[0][1]
    elif keyed is not None and len(keyed) > 1:
        yield from keyed
    else:
        refuse_no_tasks(_WHOLE, there=False)


def _array(window: _Window, at: int) -> Iterator[Batch]:
    yield from _items(window, at)
    _refuse_more(window, 1)


def _items(window: _Window, at: int) -> Iterator[Batch]:
    """The tasks of the array that begins at `at`. Leaves its closing bracket as the first byte of the window."""
    window.expect(at, b"[")
    window.drop(window.skip_space(at + 1))
    if window.byte(0) == b"]":
        return
    at = 0
    while True:
        try:
            end = window.after(at)
            mark = window.expect(end, b",", b"]")
        except Damage:
            # The scan finds the same damage, and knows how to report it.
            yield Batch(Array(), b"[" + bytes(window.text), window.origin(0, lead=1))
            raise
        if mark == b"]" or end >= BATCH:
            yield Batch(Array(), b"[" + bytes(window.text[:end]) + b"]", window.origin(0, lead=1))
        if mark == b"]":
            window.drop(end)
            return
        at = window.skip_space(end + 1)
        if end >= BATCH:
            window.drop(at)
            at = 0


def _refuse_more(window: _Window, at: int) -> None:
    end = window.skip_space(at)
    if window.byte(end):
        raise Damage("there is more text after the end of the library", end, hint="remove what follows the library")


def _checked(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The pieces, proved to be UTF-8 as a whole: the scan does not look into the text of what it steps over."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    for piece in pieces:
        if not at:
            refuse_binary(piece[:16], where)
        _decode(decoder, piece, at, where, final=False)
        at += len(piece)
        yield piece
    _decode(decoder, b"", at, where, final=True)


def _decode(decoder: codecs.IncrementalDecoder, piece: bytes, at: int, where: str, *, final: bool) -> None:
    held, _ = decoder.getstate()
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        place = at - len(held) + error.start
        problem = f"this is not UTF-8: byte 0x{error.object[error.start]:02x} ({error.reason})"
        raise LibraryError(
            problem, where=f"{where}, byte {place}", hint="save the file as UTF-8, or fix that byte"
        ) from None
