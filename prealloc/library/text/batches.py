"""A JSON library of any size in one pass and in little memory: as small libraries one after the other.

Where a task ends is known when it has been decoded. So a cut is guessed, where the next task seems to begin, and the
one decoding that is needed anyway proves it: a list of whole values stands before the cut, or it is refused. Only
where guesses fail the tasks are stepped over first.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Callable, Generator, Iterator

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.disk import Progress
from prealloc.library.formats import JSON_LINES, format_named
from prealloc.library.rows import FIELDS
from prealloc.library.text.batch import Batch, Origin
from prealloc.library.text.cursor import Cursor, Damage, space_at
from prealloc.library.text.document import ROOT, SHAPES, Value, only_place, rest_of
from prealloc.library.text.formats import ARRAY, OBJECTS, Format, is_lines
from prealloc.library.text.refuse import HEAD, no_document
from prealloc.library.text.sources import Proof, Source
from prealloc.library.text.window import SPACE, Window
from prealloc.model.document import UNREADABLE
from prealloc.model.words import shown

BATCH = 2 << 20
"""Bytes that are decoded at once, about; a task that is larger is a batch of its own."""

_WRONG_GUESSES = 3
# After so many in a library, its tasks are stepped over: each has cost as much as decoding a batch.

_MOST_FIRST = 8 << 20
# A file that has no line break so far is one document.

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
            raise cutter.last.of_encoding(window.bad_utf8, window.origin(len(window.text)))


class _Cutter:
    """Cuts a text behind whole tasks, and decodes them."""

    def __init__(self, window: Window, source: Source, shape: Shape) -> None:
        self._window = window
        self._source = source
        self._shape = shape
        self._type: type | None = None
        self._guesses = _WRONG_GUESSES
        self._found = False
        """Whether a document has tasks."""
        self._opening = b""
        """Whether those of a document are lists or objects."""
        self.title: str | None = None
        """What it calls their list, where it is not "tasks"."""
        self.last = self._batch(OBJECTS, bytearray(), window.origin(0))
        """The batch that was cut last, decoded or not."""

    def batches(self) -> Iterator[Batch]:
        """The tasks. Raises LibraryError."""
        window = self._window
        window.fill(HEAD)
        if window.text.startswith(codecs.BOM_UTF8):
            window.drop(len(codecs.BOM_UTF8))
        blank = len(window.text) > 0
        window.drop_space(0)
        begins = window.byte(0)
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
                self._refuse_more((yield from self._items(0)))
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
            raise Batch(OBJECTS, window.text, window.origin(0)).of_damage(damage) from None
        except RecursionError:
            hint = "name a list that is less deep"
            raise LibraryError("‹tasks_field› leads too deep", where=self._source.where, hint=hint) from None

    def _batch(self, fmt: Format, text: bytearray, origin: Origin, key: str | None = None) -> Batch:
        self.last = Batch(fmt, text, origin, key, title=self.title)
        return self.last

    def _decode(self, batch: Batch) -> None:
        self._type = self._type or self._shape(batch)
        batch.rows = batch.fmt.tasks(batch.text, self._type)
        self._window.tasks += len(batch.rows)

    def _decoded(self, batch: Batch) -> Batch:
        """The batch with its tasks. Raises LibraryError."""
        try:
            self._decode(batch)
        except UNREADABLE:
            raise batch.of_text(self._type) from None
        return batch

    def _is_lines(self) -> bool:
        """Whether tasks come line by line, by the first line and what follows it."""
        window = self._window
        while b"\n" not in window.text and len(window.text) < _MOST_FIRST and window.grow():
            pass
        if b"\n" in window.text:
            window.grow()
        by_name = self._source.made == "lines" or format_named(self._source.where) is JSON_LINES
        return is_lines(window.text, by_name=by_name)

    def _lines(self) -> Iterator[Batch]:
        window = self._window
        while window.byte(0):
            window.fill(BATCH)
            while not (end := _end_of_tasks(window.text)) and window.grow():
                pass
            origin = window.origin(0)
            yield self._decoded(self._batch(OBJECTS, window.drop(end or len(window.text)), origin))
            window.drop_space(0)

    def _items(self, at: int) -> Generator[Batch, None, int]:
        """The tasks of the array that begins at `at`. Gives the place behind it."""
        window, opening = self._window, b""
        window.open_array(at)
        if window.byte(1) == b"]":
            return 2
        while True:
            window.fill(BATCH)
            opening = opening or _opening(window.text)
            yield self._guessed(opening) or self._stepped()
            if window.byte(0) == b"]":
                return 1
            window.open_array(0)

    def _array(self, cut: int) -> Batch:
        """The tasks before a comma or a bracket, behind a bracket of their own. Drops them."""
        origin = self._window.origin(1, 1)
        text = self._window.drop(cut)
        text += b"]"
        return self._batch(ARRAY, text, origin)

    def _guessed(self, opening: bytes) -> Batch | None:
        """A batch that ends where a task seems to begin, or the array to end; None if it does not."""
        for cut in _cuts(self._window, opening):
            if self._guesses:
                batch = self._array(cut)
                with contextlib.suppress(*UNREADABLE):
                    self._decode(batch)
                if batch.rows:
                    return batch
                self._window.put_back(batch.text[:-1])
                self._guesses -= 1
        return None

    def _stepped(self) -> Batch:
        """A batch that ends at the comma behind enough tasks, or at the bracket behind the last. Raises Damage."""
        window = self._window
        try:
            at = window.after(1)
            while window.expect(at, b",", b"]") == b"," and at < BATCH:
                at = window.after(window.skip_space(at + 1))
        except Damage:
            # The decoding finds the same damage, and of_text knows how to report it.
            self._decoded(self._batch(ARRAY, window.text, window.origin(1, 1)))
            raise
        return self._decoded(self._array(at))

    def _document(self) -> Iterator[Batch]:
        """`{"tasks": [...], ...}`, or tasks at the place that was named. What is beside them is only stepped over.

        All is held until the tasks are found: without them, what else may be the tasks is known at the end.
        """
        window, asked, values = self._window, self._source.tasks_field, list[Value]()
        self._found = asked == ROOT
        at = window.skip_space(1)
        behind = yield from (self._by_id(at) if self._found else self._at_path(asked or "tasks", at, values))
        end = window.dropped + behind
        more = window.byte(behind := window.skip_space(behind))
        if more == b"{" and asked is not None:  # JSON lines
            raise no_document(asked, self._source.where)
        if not self._found:
            if more == b"{":  # objects of several lines each
                yield from self._lines()
                return
            if more == b",":
                raise Damage("expected a value, found ,", behind)
            place = only_place(window.text, values, self._source, window.origin(0).at())
            if place is None:
                yield from self._by_id(window.skip_space(1))
            else:
                self.title, at = place
                yield from self._items(at)
        self._refuse_more(end - window.dropped)

    def _at_path(self, path: str, at: int, values: list[Value]) -> Generator[Batch, None, int]:
        """The tasks at a path in an object, whose first key or end is at `at`. Gives the place behind the object.

        `values` gets what is in the object, unless there are tasks.
        """
        window, seen, mark = self._window, set[str](), self._window.byte(at)
        while mark != b"}":
            key, at = window.read_key(at)
            begins, rest, opening = at, rest_of(path, key), window.byte(at)
            if path.startswith("*"):
                self.title = key
                rest = rest if rest or self._has_objects(at) else None
            if rest is None or (rest and opening != b"{"):
                at = window.after(at)
            elif key in seen or (not rest and self._found and "*" not in (self._source.tasks_field or "")):
                raise Damage(f"{shown(key)} is there twice", at, hint=f"keep one {shown(key)}")
            elif rest:
                seen.add(key)
                at = window.skip_space((yield from self._at_path(rest, window.skip_space(at + 1), [])))
            elif opening not in (b"[", b"{", b""):
                raise Damage(f"{shown(key)} is neither a list nor an object of tasks", at, hint=SHAPES)
            else:
                if self._opening not in (b"", opening):
                    problem = f"* stands for lists and for objects of tasks: {shown(key)} is unlike those before"
                    raise Damage(problem, at, hint="name one of them")
                seen.add(key)
                self._found, self._opening = True, opening
                tasks = self._by_id(window.skip_space(at + 1)) if opening == b"{" else self._items(at)
                at = window.skip_space((yield from tasks))
            if not self._found:
                values.append((key, begins, at))
            mark = window.expect(at, b",", b"}")
            if mark == b",":
                at = window.skip_space(at + 1)
            if self._found:
                window.drop(at)
                at = 0
        return at + 1

    def _has_objects(self, at: int) -> bool:
        """Whether what begins at `at` is a list or an object whose first value is an object."""
        window, opening = self._window, self._window.byte(at)
        inside = window.skip_space(at + 1) if opening in (b"[", b"{") else at + 1
        if opening == b"{" and window.byte(inside) == b'"':
            _, inside = window.read_key(inside)
        return opening in (b"[", b"{") and window.byte(inside) == b"{"

    def _by_id(self, at: int) -> Generator[Batch, None, int]:
        """The tasks of an object that has each under its id; `at` as above. Gives the place behind the object."""
        window, mark, seen = self._window, self._window.byte(at), set[str]()
        while mark != b"}":
            key, begins = window.read_key(at)
            if key in seen:
                raise Damage(f"{shown(key)} is there twice", at, hint=f"keep one {shown(key)}")
            seen.add(key)
            at = window.after(begins)
            if window.byte(begins) != b"{":
                raise Damage("the task is not a JSON object", begins)
            yield self._decoded(self._keyed(key, begins, at))
            mark = window.expect(at, b",", b"}")
            if mark == b",":
                at = window.skip_space(at + 1)
            if at >= BATCH:
                window.drop(at)
                at = 0
        return at + 1

    def _keyed(self, key: str, at: int, end: int) -> Batch:
        """The task that lies under this key: its `id`, if it has none."""
        text, id = self._window.text[at:end], b'"id":' + msgspec.json.encode(key)
        fields = FIELDS.decode(text)
        lead = b"[" if "id" in fields else b"[{" + id + (b"," if fields else b"")
        cut = 0 if "id" in fields else 1
        whole = bytearray().join((lead, text[cut:], b"]"))
        return self._batch(ARRAY, whole, self._window.origin(at + cut, len(lead)), key)

    def _refuse_more(self, at: int) -> None:
        end = self._window.skip_space(at)
        if self._window.byte(end):
            raise Damage("there is more text after the end of the library", end, hint="remove what follows the library")


def _opening(text: bytearray) -> bytes:
    """The end of the first task and the beginning of the second with its first key; nothing if they are not held."""
    with contextlib.suppress(Damage):
        if found := _OPENING.match(text, text.rfind(b"}", 0, Cursor(text).after(1))):
            return found[0]
    return b""


def _cuts(window: Window, opening: bytes) -> Iterator[int]:
    """Where the array seems to end, or the last task to begin that is not too far in the text."""
    text = window.text
    if window.ended and len(text) <= 2 * BATCH and (end := text.rfind(b"]")) >= 0:
        yield end
        text = window.text  # it was dropped, and put back
    if opening:  # as late as can be: what is left is copied
        at = text.rfind(opening, 0, 2 * BATCH)
        at = text.find(opening, 2 * BATCH) if at < 0 else at
        if at >= 0:
            yield text.index(b",", at)


def _end_of_tasks(text: bytearray) -> int:
    """Where the last task begins whose beginning is held, if that is far enough in the text; else 0.

    Between tasks, and nowhere else in JSON, a line break stands between `}` and `{`: a task may have several lines.
    """
    at = len(text)
    while at >= BATCH and (at := text.rfind(b"\n", 0, at)) > 0:
        before, behind = at - 1, space_at(text, at)
        while before > 0 and text[before] in SPACE:
            before -= 1
        if text[before : before + 1] == b"}" and text[behind : behind + 1] == b"{":
            return behind
    return 0
