"""Steps over JSON values without looking into them, at the speed of msgspec.

Used where a place is asked for: msgspec reads whole documents and does not tell where their parts lie. But
asked for one value in front of more text, it says where that text begins, and that is a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec

TOO_SHORT = "the text ends too early"
_TOO_DEEP = "nested too deep"
_SPACE = re.compile(rb"[ \t\n\r]*")
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
    inside: int | None = None
    """If given, the value that begins at `at` is at fault, and about where in it."""
    hint: str | None = None


def space_at(text: bytes | bytearray, at: int) -> int:
    """The offset behind the JSON whitespace at `at`, if there is any."""
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too


class Cursor:
    """Offsets of values in a text. Every method raises Damage where the text is not JSON."""

    def __init__(self, text: bytes | bytearray) -> None:
        self.text = text
        """As far as it is held."""

    def grow(self) -> bool:
        """Takes in more, where only a part of the text is held. False: that is all of it."""
        return False

    def skip_space(self, at: int) -> int:
        """The offset of the first byte from `at` on that is not JSON whitespace."""
        while True:
            end = space_at(self.text, at)
            if end < len(self.text) or not self.grow():
                return end

    def byte(self, at: int) -> bytes:
        """The byte at `at`; nothing behind the end."""
        while at >= len(self.text) and self.grow():
            pass
        return bytes(self.text[at : at + 1])

    def after(self, at: int, decoder: msgspec.json.Decoder[Any] = _value) -> int:
        """The offset behind the value that begins at `at`, if `decoder` takes it, and the whitespace behind it."""
        if not self.byte(at):
            raise Damage(TOO_SHORT, at)
        while True:
            try:
                end = self._end(at, decoder)
                # A value that ends with what is held may go on: 12 and then 34.
                if end < len(self.text) or not self.grow():
                    return end
            except Damage as damage:
                if not self._may_be_cut(damage) or not self.grow():
                    raise

    def _end(self, at: int, decoder: msgspec.json.Decoder[Any]) -> int:
        try:
            decoder.decode(memoryview(self.text)[at:])
        except RecursionError:
            raise Damage(_TOO_DEEP, at, inside=at) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            more = _MORE.search(str(error))
            if more is None:
                raise self._damage(str(error), at) from None
            return at + int(more[1]) - 1
        return len(self.text)

    def _may_be_cut(self, damage: Damage) -> bool:
        """Whether the damage may be only where the held text ends: a half of `-1`, of `true`, of an escape."""
        inside = damage.at if damage.inside is None else damage.inside
        return damage.problem == TOO_SHORT or inside >= len(self.text) - _LONGEST_TOKEN

    def _damage(self, said: str, at: int) -> Damage:
        """What msgspec says of the value at `at`; it counts from there."""
        problem, place = _SAID.fullmatch(said).groups()  # type: ignore[union-attr]  # it matches all
        if problem == "Input data was truncated":
            return Damage(TOO_SHORT, at, inside=len(self.text))
        return Damage(problem, at, inside=at + int(place or 0))

    def fields(self, at: int) -> Iterator[tuple[str, int]]:
        """Key and offset of each value in the object at `at`, as often as it is there; in an array without a key."""
        opening = self.expect(at, b"{", b"[")
        closing, at = b"}" if opening == b"{" else b"]", self.skip_space(at + 1)
        if self.byte(at) == closing:
            return
        while True:
            if not self.byte(at):
                raise Damage(TOO_SHORT, at)
            key = ""
            if opening == b"{":
                key, at = self.read_key(at)
            yield key, at
            at = self.after(at)
            if self.expect(at, b",", closing) == closing:
                return
            at = self.skip_space(at + 1)

    def read_key(self, at: int) -> tuple[str, int]:
        """The key that begins at `at`, and the offset of its value."""
        self.expect(at, b'"')
        colon = self.after(at, _key)
        self.expect(colon, b":")
        return _key.decode(self.text[at:colon]), self.skip_space(colon + 1)

    def expect(self, at: int, *marks: bytes) -> bytes:
        """The byte at `at`, which must be one of these."""
        found = self.byte(at)
        if found in marks:
            return found
        if not found:
            raise Damage(TOO_SHORT, at)
        raise Damage(f"expected {' or '.join(m.decode() for m in marks)}, found {chr(found[0])!r}", at)
