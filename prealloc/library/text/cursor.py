"""Steps over JSON values without looking into them, at the speed of msgspec, in a text that is held or goes by.

Used where a place is asked for: msgspec reads whole documents and does not tell where their parts lie. But
asked for one value in front of more text, it says where that text begins, and that is a step.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import msgspec

from prealloc.library.text.refuse import HEAD
from prealloc.library.text.sources import Source

_TOO_SHORT = "the text ends too early"
_SPACES = re.compile(rb"[ \t\n\r]*")
_NO_VALUE = frozenset((b"", b" ", b"\t", b"\n", b"\r"))
_MORE = re.compile(r"trailing characters \(byte (\d+)\)")
_SAID = re.compile(r"(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?(?: - at `.*)?", re.DOTALL)
_LONGEST_TOKEN = 32
# How far before the end of a cut text the damage may be told: numbers are told at their end, the others are short.

_value = msgspec.json.Decoder(msgspec.Raw)
_key = msgspec.json.Decoder(str)


@dataclass(eq=False)
class Damage(Exception):
    """The text is not what it should be at offset `at`."""

    problem: str
    at: int
    _: KW_ONLY
    value: int | None = None
    """Where the value begins that is at fault; then `at` is about where in it."""
    hint: str | None = None


class Origin(NamedTuple):
    """Where a text begins in the library that it is a part of: at which task and byte, from 0."""

    source: Source
    task: int
    byte: int
    lead: int
    """How many bytes at its beginning are ours, and not of the library."""
    lines: int | None
    """Line breaks before it. None: they are counted for a message only, since that takes another look at every byte."""

    def at(self, offset: int = 0, lines: int = 0) -> str:
        """Where a byte of the text lies, in words; `lines` begin before it. Nothing in what was made of other text."""
        if self.source.made:
            return ""
        byte = self.byte + max(offset, self.lead)
        before = self.source.line_of(byte) if self.lines is None else self.lines + lines
        return f"byte {byte}, line {before + 1}"


def space_at(text: bytes | bytearray, at: int) -> int:
    """The offset behind the JSON whitespace at `at`, if there is any."""
    return _SPACES.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too


class Cursor:
    """A place in a text that moves from value to value. Whatever moves it raises Damage where the text is not JSON."""

    key_at = 0
    """Where the last key begins."""
    dropped = 0
    """How much of the text was before what is held."""

    def __init__(self, text: bytes | bytearray, at: int = 0) -> None:
        self.text = text
        """As far as it is held."""
        self.at = at

    def grow(self) -> bool:
        """Takes in more of the text, where only a part is held. Gives False at its end."""
        return False

    def peek(self) -> bytes:
        """Moves behind the whitespace here. Gives the byte that follows; nothing at the end."""
        while (found := bytes(self.text[self.at : self.at + 1])) in _NO_VALUE:
            self.at = space_at(self.text, self.at)
            if self.at == len(self.text) and not self.grow():
                return b""
        return found

    def expect(self, *marks: bytes) -> bytes:
        """The same; the byte must be one of these."""
        found = self.peek()
        if found in marks:
            return found
        if not found:
            raise Damage(_TOO_SHORT, self.at)
        raise Damage(f"expected {' or '.join(m.decode() for m in marks)}, found {chr(found[0])!r}", self.at)

    def take(self, *marks: bytes) -> bytes:
        """The same; moves behind the byte too."""
        found = self.expect(*marks)
        self.at += 1
        return found

    def step(self, decoder: msgspec.json.Decoder[Any] = _value) -> int:
        """Moves behind the value here, which `decoder` must take, and whitespace. Gives where the value begins."""
        if not self.peek():
            raise Damage(_TOO_SHORT, self.at)
        while True:
            try:
                end = self._end(decoder)
                # A value that ends with what is held may go on: 12 and then 34.
                if end < len(self.text) or not self.grow():
                    begins, self.at = self.at, end
                    return begins
            except Damage as damage:
                # It may be only where the held text ends: a half of `-1`, of `true`, of an escape.
                may_be_cut = damage.problem == _TOO_SHORT or damage.at >= len(self.text) - _LONGEST_TOKEN
                if not may_be_cut or not self.grow():
                    raise

    def _end(self, decoder: msgspec.json.Decoder[Any]) -> int:
        begins = self.at
        try:
            decoder.decode(memoryview(self.text)[begins:])
        except RecursionError:
            raise Damage("nested too deep", begins, value=begins) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if more := _MORE.search(str(error)):
                return begins + int(more[1]) - 1
            problem, place = _SAID.fullmatch(str(error)).groups()  # type: ignore[union-attr]  # it matches all
            if problem == "Input data was truncated":
                raise Damage(_TOO_SHORT, len(self.text), value=begins) from None
            raise Damage(problem, begins + int(place or 0), value=begins) from None
        return len(self.text)

    def _key(self) -> str:
        """Moves behind the key here and its colon."""
        self.expect(b'"')
        self.key_at = self.step(_key)
        key: str = _key.decode(self.text[self.key_at : self.at])
        self.take(b":")
        return key

    def fields(self) -> Iterator[str]:
        """Moves to each value of the object here and gives its key, as often as it is there; an array has no keys.

        Asked for the next, it moves behind the value, unless the caller has done so.
        """
        closing = b"}" if self.take(b"{", b"[") == b"{" else b"]"
        if self.peek() == closing:
            self.take(closing)
            return
        while True:
            key = self._key() if closing == b"}" else ""
            if not self.peek():
                raise Damage(_TOO_SHORT, self.at)
            begins = self.dropped + self.at
            yield key
            if self.dropped + self.at == begins:
                self.step()
            if self.take(b",", closing) == closing:
                return

    def values(self) -> Iterator[str]:
        """Moves to each value of those that stand one behind the other, in the same way; they have no keys."""
        while self.peek():
            begins = self.at
            yield ""
            if self.at == begins:
                self.step()


class Window(Cursor):
    """A cursor in a text that goes by: its steps take in as much of the text as they need.

    What is held is proved to be UTF-8, for steps do not look into strings.
    """

    def __init__(self, pieces: Iterator[bytes], source: Source) -> None:
        """Takes in the beginning of the text. The cursor stands behind a byte order mark."""
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._source = source
        self._lines = 0
        """Line breaks that were taken in, of a text that cannot be read again to count them."""
        self.tasks = 0
        """In what was dropped."""
        self.text: bytearray = bytearray()
        self.ended = False
        self.bad_utf8: str | None = None
        """Why nothing is held from here on, if that is so."""
        self.fill(HEAD)
        self.at = len(codecs.BOM_UTF8) if self.text.startswith(codecs.BOM_UTF8) else 0

    def grow(self) -> bool:
        """Takes in at least as much again as is held. Gives False at the end of the text."""
        before = len(self.text)
        self.fill(max(2 * before, 1))
        return len(self.text) > before

    def fill(self, size: int) -> None:
        """Takes in more until so many bytes are held, or all that is left: up to what is not UTF-8."""
        while len(self.text) < size and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            piece, before, cut = piece or b"", len(self.text), self._decoder.getstate()[0]
            self.text += piece
            if cut or not piece.isascii():
                try:
                    self._decoder.decode(piece, self.ended)
                except UnicodeDecodeError as error:
                    self.ended, self.bad_utf8 = True, f"byte 0x{error.object[error.start]:02x} ({error.reason})"
                    del self.text[before - len(cut) + error.start :]
            if self._source.once:
                self._lines += self.text.count(b"\n", before)

    def drop(self, size: int) -> bytearray:
        """Lets go of the first bytes, and gives them. The cursor stands at the beginning of what is left."""
        self.dropped += size
        self.at = 0
        if size < len(self.text) - size:  # the smaller part is copied
            gone = self.text[:size]
            del self.text[:size]
        else:
            gone, self.text = self.text, self.text[size:]
            del gone[size:]
        return gone

    def put_back(self, text: bytearray) -> None:
        """Takes in what was dropped last, or as many bytes."""
        self.dropped -= len(text)
        self.text = text + self.text

    def drop_space(self, keep: int = 0) -> None:
        """Lets go of all before the cursor but `keep` bytes, and of the whitespace behind it, however much it is."""
        self.drop(self.at - keep)
        while keep < len(self.text) or self.grow():
            if (end := space_at(self.text, keep)) == keep:
                break
            self.drop(end - keep)
        self.at = keep

    def origin(self, at: int, lead: int = 0) -> Origin:
        """Where a text begins that has `lead` bytes of ours in front of what lies at `at`."""
        lines = self._lines - self.text.count(b"\n", at) if self._source.once else None
        return Origin(self._source, self.tasks, self.dropped + at - lead, lead, lines)
