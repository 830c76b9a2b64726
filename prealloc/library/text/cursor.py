"""Steps over JSON values without looking into them, at the speed of msgspec.

Used where a place is asked for: msgspec reads whole documents and does not tell where their parts lie. But
asked for one value in front of more text, it says where that text begins, and that is a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

TOO_SHORT = "the text ends too early"
_TOO_DEEP = "nested too deep"
_SPACE = re.compile(rb"[ \t\n\r]*")
_MORE = re.compile(r"trailing characters \(byte (\d+)\)")
_value = msgspec.json.Decoder(msgspec.Raw)
_key = msgspec.json.Decoder(str)


class Damage(Exception):
    """The text is not what it should be at offset `at`.

    `inside`, if given, says that the value which begins at `at` is at fault, and about where in it.
    """

    def __init__(self, problem: str, at: int, *, inside: int | None = None, hint: str | None = None) -> None:
        super().__init__(problem, at)
        self.problem = problem
        self.at = at
        self.inside = inside
        self.hint = hint


class Cursor:
    """Offsets of values in a text. Every method raises Damage where the text is not JSON."""

    def __init__(self, text: memoryview) -> None:
        self.text = text

    def skip_space(self, at: int) -> int:
        """The offset of the first byte from `at` on that is not JSON whitespace."""
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def byte(self, at: int) -> bytes:
        """The byte at `at`; nothing behind the end."""
        return bytes(self.text[at : at + 1])

    def after(self, at: int) -> int:
        """The offset behind the value that begins at `at` and the whitespace that follows it."""
        return self.check(at, _value)

    def check(self, at: int, decoder: msgspec.json.Decoder[Any]) -> int:
        """The same, if `decoder` takes that value."""
        try:
            decoder.decode(self.text[at:])
        except RecursionError:
            raise Damage(_TOO_DEEP, at, inside=at) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            more = _MORE.search(str(error))
            if more is None:
                raise self._damage(error, at) from None
            return at + int(more[1]) - 1
        return len(self.text)

    def _damage(self, error: Exception, at: int) -> Damage:
        """What msgspec says of the value at `at`; it counts from there."""
        found = re.fullmatch(r"(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?(?: - at `.*)?", str(error), re.DOTALL)
        problem, place = (found[1], found[2]) if found else (str(error), None)
        if problem == "Input data was truncated":
            return Damage(TOO_SHORT, at, inside=len(self.text))
        return Damage(problem, at, inside=at + int(place or 0))

    def items(self, at: int) -> Iterator[int]:
        """The offset of each item of the array that begins at `at`."""
        for _, start in self._parts(at, b"[", b"]"):
            yield start

    def fields(self, at: int) -> Iterator[tuple[str, int]]:
        """Key and offset of the value, for each field of the object at `at`, as often as it is there."""
        return self._parts(at, b"{", b"}")

    def _parts(self, at: int, opening: bytes, closing: bytes) -> Iterator[tuple[str, int]]:
        self.expect(at, opening)
        at = self.skip_space(at + 1)
        if self.byte(at) == closing:
            return
        while True:
            if at == len(self.text):
                raise Damage(TOO_SHORT, at)
            key = ""
            if opening == b"{":
                key, at = self.read_key(at)
            yield key, at
            at = self.after(at)
            if self.byte(at) == closing:
                return
            self.expect(at, b",", closing)
            at = self.skip_space(at + 1)

    def read_key(self, at: int) -> tuple[str, int]:
        """The key that begins at `at`, and the offset of its value."""
        self.expect(at, b'"')
        colon = self.after(at)
        self.expect(colon, b":")
        try:
            return _key.decode(bytes(self.text[at:colon])), self.skip_space(colon + 1)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damage(error, at) from None

    def expect(self, at: int, *marks: bytes) -> None:
        """Raises Damage unless one of these bytes lies at `at`."""
        found = self.byte(at)
        if found in marks:
            return
        if not found:
            raise Damage(TOO_SHORT, at)
        raise Damage(f"expected {' or '.join(m.decode() for m in marks)}, found {chr(found[0])!r}", at)
