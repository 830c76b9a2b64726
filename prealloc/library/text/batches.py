"""A JSON library of any size in one pass and in little memory: as small libraries one after the other.

Where a task ends is known when it has been decoded. So a cut is guessed, where the next task seems to begin, and the
one decoding that is needed anyway proves it: a list of whole values stands before the cut, or it is refused. Only
where guesses fail the tasks are stepped over first.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.disk import Progress
from prealloc.library.formats import JSON_LINES, format_named
from prealloc.library.rows import FIELDS, fields_of
from prealloc.library.text.batch import Batch, Layout, Place, of_damage, of_encoding, of_text
from prealloc.library.text.cursor import Cursor, Damage, Origin, Window, space_at
from prealloc.library.text.document import ROOT, SHAPES, Value, only_place, rest_of
from prealloc.library.text.refuse import no_document
from prealloc.library.text.sources import Proof, Source
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import shown

BATCH = 2 << 20
"""Bytes that are decoded at once, about; a task that is larger is a batch of its own."""

_WRONG_GUESSES = 3
# After so many in a library, its tasks are stepped over: each has cost as much as decoding a batch.

_MOST_FIRST = 8 << 20
# A file that has no line break so far is one document.

_MOST_KEYED = 4096
# Tasks under their ids that are decoded at once: each is held with its place.

_TASKS_FIRST = re.compile(rb'\{[ \t\n\r]*"tasks"')
_LINES_OF_LISTS = re.compile(rb"\[(?![ \t\r\n]*\{)[^\n]*\][ \t\r]*\n[ \t\r\n]*\[")
_OPENING = re.compile(rb'\}[ \t\n\r]*,[ \t\n\r]*\{[ \t\n\r]*"[^"\\]*"')
_COMMENTED = re.compile(rb"(?:\s|(?://|#)[^\n]*+|/\*(?s:.*?)\*/)++[{\[]")

Shape = Callable[[Batch], type]
"""The type that the tasks of a library are decoded as, by its first batch."""


def batches(source: Source, shape: Shape, proof: Proof, progress: Progress | None = None) -> Generator[Batch]:
    """A library, piece by piece, with its tasks decoded. Raises LibraryError for what is not one."""
    with contextlib.closing(source.read(proof, progress)) as pieces:
        window = Window(pieces, source)
        cutter = _Cutter(window, source, shape)
        try:
            yield from cutter.batches()
        except LibraryError:
            if window.bad_utf8 is None:
                raise
        if window.bad_utf8 is not None:
            raise of_encoding(cutter.last, window.bad_utf8, window.origin(len(window.text)))


class _Cutter:
    """Cuts a text behind whole tasks, and decodes them."""

    def __init__(self, window: Window, source: Source, shape: Shape) -> None:
        self._window = window
        self._source = source
        self._shape = shape
        self._type: type | None = None
        self._guesses = _WRONG_GUESSES
        self._bracket = b""
        """What opens the tasks of a document, `[` or `{`; empty while their place is not known."""
        self.title: str | None = None
        """What it calls their list, where it is not "tasks"."""
        self.last = self._batch("objects", bytearray(), window.origin(0))
        """The batch that was cut last, decoded or not."""

    def batches(self) -> Iterator[Batch]:
        """The tasks. Raises LibraryError."""
        window = self._window
        blank = len(window.text) > window.at
        window.drop_space()
        begins = window.peek()
        if not begins and self._source.made:  # there were no rows
            return
        if not begins:
            problem = f"the file {'holds nothing but whitespace' if blank else 'is empty'}"
            raise LibraryError(problem, where=self._source.where, hint="write the tasks into it, or give another file")
        try:
            asked = self._source.tasks_field
            if asked is not None and begins == b"[":
                raise no_document(asked, self._source.where)
            if begins == b"[" and not _LINES_OF_LISTS.match(window.text):
                yield from self._items()
                self._refuse_more()
            elif begins not in (b"[", b"{"):
                start = shown(window.text[:40].decode(errors="ignore"))
                start = "a comment" if _COMMENTED.match(window.text) else start
                problem = f"this is neither a JSON object nor an array of tasks: it begins with {start}"
                raise Damage(problem, 0, hint=SHAPES)
            elif begins == b"[" or (asked is None and self._is_lines()):
                yield from self._lines()
            else:
                yield from self._document()
        except Damage as damage:
            raise of_damage(Batch("objects", window.text, window.origin(0)), damage) from None
        except RecursionError:
            hint = "name a list that is less deep"
            raise LibraryError("‹tasks_field› leads too deep", where=self._source.where, hint=hint) from None

    def _batch(self, layout: Layout, text: bytearray, origin: Origin, places: Sequence[Place] = ()) -> Batch:
        self.last = Batch(layout, text, origin, places, title=self.title)
        return self.last

    def _decode(self, batch: Batch) -> None:
        self._type = self._type or self._shape(batch)
        batch.rows = batch.decoded(batch.text, self._type)
        self._window.tasks += len(batch.rows)

    def _decoded(self, batch: Batch) -> Batch:
        """The batch with its tasks. Raises LibraryError."""
        try:
            self._decode(batch)
        except UNREADABLE:
            raise of_text(batch, self._type) from None
        return batch

    def _is_lines(self) -> bool:
        """Whether a text that begins with an object is one task a line, and no document.

        By its first line, what follows, and whether its file is called so.
        """
        window, text = self._window, self._window.text
        while b"\n" not in text and len(text) < _MOST_FIRST and window.grow():
            pass
        line, more = text, False
        if (end := text.find(b"\n")) >= 0:
            window.grow()
            line, more = text[:end], space_at(text, end) < len(text)
        by_name = self._source.made == "lines" or format_named(self._source.where) is JSON_LINES
        if not (more or by_name) and _TASKS_FIRST.match(text):
            return False  # nearly every document of one line: not read twice to know it
        first = fields_of(line)
        if not first:
            return by_name  # {"tasks": [ in the first line, the tasks in others
        has_id = any(bytes(first[name])[:1] not in b"[{" for name in ID_SPELLINGS if name in first)
        signs = [has_id, more, by_name]
        return signs.count(True) >= (2 if "tasks" in first else 1)  # a task may well have a field of this name

    def _lines(self) -> Iterator[Batch]:
        window = self._window
        while window.peek():
            window.fill(BATCH)
            while not (end := _end_of_tasks(window.text)) and window.grow():
                pass
            origin = window.origin(0)
            yield self._decoded(self._batch("objects", window.drop(end or len(window.text)), origin))
            window.drop_space()

    def _items(self) -> Iterator[Batch]:
        """The tasks of the array at the cursor."""
        window, opening = self._window, b""
        window.take(b"[")
        window.drop_space(keep=1)
        if window.peek() == b"]":
            window.take(b"]")
            return
        while True:
            window.drop_space(keep=1)
            window.text[:1] = b"["  # in place of the bracket or the comma before the task
            window.fill(BATCH)
            opening = opening or _opening(window.text)
            yield self._next(opening)
            if window.take(b",", b"]") == b"]":
                return

    def _array(self, cut: int) -> Batch:
        """The tasks before a comma or a bracket, behind a bracket of their own. Drops them."""
        origin = self._window.origin(1, 1)
        text = self._window.drop(cut)
        text += b"]"
        return self._batch("array", text, origin)

    def _next(self, opening: bytes) -> Batch:
        """A batch that ends where a task seems to begin, or the array to end; failing that, behind enough tasks.

        Raises Damage.
        """
        window = self._window
        for cut in _cuts(window, opening)[: self._guesses]:
            batch = self._array(cut)
            with contextlib.suppress(*UNREADABLE):
                self._decode(batch)
            if batch.rows:
                return batch
            window.put_back(batch.text[:-1])
            self._guesses -= 1
            if not window.tasks:  # the first task was cut, and so did not tell what it is decoded as
                self._type = None
        window.at = 1
        try:
            window.step()
            while window.expect(b",", b"]") == b"," and window.at < BATCH:
                window.take(b",")
                window.step()
        except Damage:
            # The decoding finds the same damage, and of_text knows how to report it.
            self._decoded(self._batch("array", window.text, window.origin(1, 1)))
            raise
        return self._decoded(self._array(window.at))

    def _document(self) -> Iterator[Batch]:
        """`{"tasks": [...], ...}`, or tasks at the place that was named. What is beside them is only stepped over.

        All is held until the tasks are found: without them, what else may be the tasks is known at the end.
        """
        window, asked, values = self._window, self._source.tasks_field, list[Value]()
        self._bracket = b"{" if asked == ROOT else b""
        yield from (self._by_id() if self._bracket else self._at_path(asked or "tasks", values))
        more = window.peek()
        if more == b"{" and asked is not None:  # JSON lines
            raise no_document(asked, self._source.where)
        if not self._bracket:
            if more == b",":
                raise Damage("expected a value, found ,", window.at)
            window.at = 0
            if more == b"{":  # objects of several lines each
                yield from self._lines()
                return
            self.title = only_place(window.text, values, window.origin(0))
            yield from (self._by_id() if self.title is None else self._under(self.title))
        self._refuse_more()

    def _under(self, title: str) -> Iterator[Batch]:
        """The tasks of the list under a key, which may have dots, of the object at the cursor."""
        for key in self._window.fields():
            if key != title:
                self._window.step()
            elif self._bracket:
                raise _twice(key, self._window.at)
            else:
                self._bracket = b"["
                yield from self._items()
            self._window.drop(self._window.at)

    def _at_path(self, path: str, values: list[Value]) -> Iterator[Batch]:
        """The tasks at a path in the object at the cursor. `values` gets what is in it, unless there are tasks."""
        window, seen = self._window, set[str]()
        is_one = "*" not in (self._source.tasks_field or "")
        for key in window.fields():
            begins, rest, opening = window.at, rest_of(path, key), window.peek()
            if path.startswith("*"):
                self.title = key
                rest = rest if rest or self._has_objects() else None
            if rest is None or (rest and opening != b"{"):
                window.step()
            elif key in seen or (not rest and self._bracket and is_one):
                raise _twice(key, window.at)
            elif rest:
                seen.add(key)
                yield from self._at_path(rest, [])
            elif opening not in (b"[", b"{", b""):
                raise Damage(f"{shown(key)} is neither a list nor an object of tasks", window.at, hint=SHAPES)
            else:
                if self._bracket not in (b"", opening):
                    problem = f"* stands for lists and for objects of tasks: {shown(key)} is unlike those before"
                    raise Damage(problem, window.at, hint="name one of them")
                seen.add(key)
                self._bracket = opening
                yield from (self._by_id() if opening == b"{" else self._items())
            if self._bracket:
                window.drop(window.at)
            else:
                values.append((key, begins, window.at))

    def _has_objects(self) -> bool:
        """Whether a list or an object is at the cursor whose first value is an object."""
        window, before = self._window, self._window.at
        found = False
        with contextlib.suppress(Damage):  # whoever steps over it tells
            found = next(window.fields(), None) is not None and window.peek() == b"{"
        window.at = before
        return found

    def _by_id(self) -> Iterator[Batch]:
        """The tasks of the object at the cursor, which has each under its id."""
        window, seen, held = self._window, set[str](), list[tuple[bytes, Origin]]()
        try:
            for key in window.fields():
                if key in seen:
                    raise _twice(key, window.key_at)
                seen.add(key)
                begins = window.step()
                if window.text[begins : begins + 1] != b"{":
                    raise Damage("the task is not a JSON object", begins)
                held.append(self._keyed(key, begins))
                if window.at >= BATCH or len(held) == _MOST_KEYED:
                    yield self._of_keyed(held)
                    held = []
                    window.drop(window.at)
        except Damage:
            if held:  # whatever is wrong with these comes first
                yield self._of_keyed(held)
            raise
        if held:
            yield self._of_keyed(held)

    def _keyed(self, key: str, at: int) -> tuple[bytes, Origin]:
        """The task from `at` to the cursor, which lies under this key: its `id`, if it has none."""
        window = self._window
        text = bytes(window.text[at : window.at])
        fields = FIELDS.decode(text)
        if "id" in fields:
            return text, window.origin(at)
        lead = b'{"id":' + msgspec.json.encode(key) + (b"," if fields else b"")
        return lead + text[1:], window.origin(at, len(lead) - 1)

    def _of_keyed(self, held: Sequence[tuple[bytes, Origin]]) -> Batch:
        texts, origins = zip(*held, strict=True)
        begins = accumulate((len(text) + 1 for text in texts), initial=1)
        places = [*zip(begins, origins, strict=False)]
        return self._decoded(self._batch("array", bytearray(b"[%b]" % b",".join(texts)), origins[0], places))

    def _refuse_more(self) -> None:
        if self._window.peek():
            hint = "remove what follows the library"
            raise Damage("there is more text after the end of the library", self._window.at, hint=hint)


def _twice(key: str, at: int) -> Damage:
    return Damage(f"{shown(key)} is there twice", at, hint=f"keep one {shown(key)}")


def _opening(text: bytearray) -> bytes:
    """The end of the first task and the beginning of the second with its first key; nothing if they are not held."""
    cursor = Cursor(text, 1)
    with contextlib.suppress(Damage):
        cursor.step()
        if found := _OPENING.match(text, text.rfind(b"}", 0, cursor.at)):
            return found[0]
    return b""


def _cuts(window: Window, opening: bytes) -> list[int]:
    """Where the array seems to end, or the last task to begin that is not too far in the text."""
    text, cuts = window.text, list[int]()
    if window.ended and len(text) <= 2 * BATCH:
        cuts.append(text.rfind(b"]"))
    if opening:  # as late as can be: what is left is copied
        at = text.rfind(opening, 0, 2 * BATCH)
        at = text.find(opening, 2 * BATCH) if at < 0 else at
        cuts.append(text.index(b",", at) if at >= 0 else -1)
    return [cut for cut in cuts if cut >= 0]


def _end_of_tasks(text: bytearray) -> int:
    """Where the last task begins whose beginning is held, if that is far enough in the text; else 0.

    Between tasks, and nowhere else in JSON, a line break stands between `}` and `{`: a task may have several lines.
    """
    at = len(text)
    while at >= BATCH and (at := text.rfind(b"\n", 0, at)) > 0:
        before, behind = at - 1, space_at(text, at)
        while before > 0 and text[before : before + 1].isspace():
            before -= 1
        if text[before : before + 1] == b"}" and text[behind : behind + 1] == b"{":
            return behind
    return 0
