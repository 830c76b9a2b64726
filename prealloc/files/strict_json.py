"""JSON, read strictly (RFC 8259 and I-JSON, RFC 7493): one text has one meaning, or it is refused.

Refused are: bad UTF-8, duplicate keys, numbers that are not finite, integers past 64 bits, lone
surrogates, nesting over 512, and of course whatever is not JSON at all.

There are two ways through. The quick one lets msgspec do all the work and *proves* that nothing was
lost; whatever it cannot prove goes to the exact one, a walk over the tokens that knows the place and
the path of what it refuses. The exact way decides; the quick way only ever says "surely fine".
"""

from __future__ import annotations

import gc
import re
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, NoReturn

import msgspec

from prealloc.model.document import UNREADABLE
from prealloc.model.words import cut, visible

MAX_DEPTH = 512
"""Brackets that may be open at once."""

MOST_WALKED = 2**20
"""Bytes that the exact way walks within a second. Documents larger than this must be proved by the quick way."""

INT_MIN, INT_MAX = -(2**63), 2**64 - 1

MORE_TEXT = "there is more text after the value"
"""The problem of a text whose first value is fine."""

_SHALLOW = 8
# Quick proof for values up to this depth. The type below doubles with every level: 8 costs 5 ms, once.

_FEW = 64
_LONG = b"0" * 19
_BEFORE_NUMBER = (b":", b",", b"[", b"-")
_DIGITS_AS_ZERO = bytes(48 if 48 <= byte <= 57 else byte for byte in range(256))
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b'[]{}"\\')))

_plain = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class StrictJsonError(ValueError):
    """A JSON text that is refused.

    `problem` says why, `offset` is the place in bytes from the start of the text (None if unknown),
    `path` names the value (`$.steps[3].name`; None if unknown), `line` and `column` count from 1.
    """

    def __init__(self, problem: str, *, offset: int | None = None, path: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset
        self.path = path
        self.line: int | None = None
        self.column: int | None = None
        self.what: str | None = None
        """The name of the document."""

    def __str__(self) -> str:
        place = [] if self.line is None else [f"line {self.line}, column {self.column}"]
        place += [] if self.offset is None else [f"byte {self.offset}"]
        place += [] if self.path is None else [f"at {self.path}"]
        head = f"{self.what}: {self.problem}" if self.what else self.problem
        return f"{head} ({', '.join(place)})" if place else head


def compact(raw: bytes | msgspec.Raw, *, most_walked: int | None = None) -> bytes:
    """The JSON text `raw` without insignificant whitespace; strings and numbers keep their spelling.

    Raises StrictJsonError for a text that is refused (see the top of this module); `offset` counts
    from the start of `raw`. With `most_walked` a longer text that the quick way cannot prove is refused as such.
    """
    collecting = gc.isenabled()
    gc.disable()  # thousands of containers are made and dropped at once: nothing for the collector to find
    try:
        text = msgspec.json.format(raw, indent=-1)
        if _surely_fine(text):
            return text
    except UNREADABLE:
        pass
    finally:
        if collecting:
            gc.enable()
    text = bytes(raw)
    if most_walked is not None and len(text) > most_walked:
        raise StrictJsonError("it is not JSON as prealloc writes it (it is too large to say where)")
    return _Walk(text).compact()


def loads(raw: bytes, *, what: str) -> Any:
    """The value of a small JSON document (a manifest, run.json), read strictly.

    `what` names the document in the error. Raises StrictJsonError, with line and column, also for a byte
    order mark, UTF-16, an empty text, and text after the value.
    """
    try:
        return _plain.decode(compact(raw, most_walked=MOST_WALKED))
    except StrictJsonError as error:
        if error.offset is not None:
            error.line, error.column = place(raw, error.offset)
        refused = error
    except RecursionError:
        refused = StrictJsonError("nested too deep for the stack that is left")
    refused.what = what
    raise refused from None


def place(raw: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte, both from 1; the column counts characters."""
    start = raw.rfind(b"\n", 0, offset) + 1
    return raw.count(b"\n", 0, offset) + 1, len(raw[start:offset].decode(errors="replace")) + 1


def encoding_problem(head: bytes) -> str | None:
    """What is wrong with a text that starts with these (four or more) bytes, if it is not UTF-8 as such."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        return "starts with a UTF-16 or UTF-32 byte order mark"
    if head.startswith(b"\xef\xbb\xbf"):
        return "starts with a UTF-8 byte order mark"
    if b"\x00" in head[:4]:
        return "is UTF-16, UTF-32 or binary (a zero byte among the first four)"
    return None


def _surely_fine(text: bytes) -> bool:
    """Whether a compact text is proved to be fine. False means: not proved."""
    try:
        value = _shallow().decode(text)  # proves depth and the size of integers on its way
    except msgspec.ValidationError:
        value = _plain.decode(text)
        if not (_is_surely_shallow(text) and has_surely_short_integers(text)):
            return False
    again = _encoder.encode(value)
    if again == text:
        return True
    # Other spellings of the same numbers and strings. A duplicate key was dropped with its value, and
    # one colon at least went with it; colons in strings are the same in both unless spelled \u003a.
    return text.count(b":") == again.count(b":") and b"\\u003a" not in text and b"\\u003A" not in text


@cache
def _shallow() -> msgspec.json.Decoder[Any]:
    small = msgspec.Meta(ge=INT_MIN, le=2**63 - 1)
    scalar: Any = str | float | bool | None | Annotated[int, small]
    shape = scalar
    for _ in range(_SHALLOW):
        # operator.or_: made at run time, which mypy takes for no type in an annotation.
        shape = reduce(or_, (list.__class_getitem__(shape), dict.__class_getitem__((str, shape))), scalar)
    return msgspec.json.Decoder(shape)


def _is_surely_shallow(text: bytes) -> bool:
    brackets = text.translate(None, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:  # brackets or quotes inside strings
        return False
    for depth in range(MAX_DEPTH):
        if not brackets:
            return True
        if depth > _FEW and len(brackets) > MOST_WALKED:
            return False  # so many and so deep: this would go over megabytes hundreds of times
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def has_surely_short_integers(text: bytes) -> bool:
    """Whether nothing that could be an integer has 19 digits: the fractions of floats often have."""
    digits = text.translate(_DIGITS_AS_ZERO)
    if _LONG not in digits:
        return True
    return not digits.startswith(_LONG) and not any(before + _LONG in digits for before in _BEFORE_NUMBER)


_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_TOKEN = re.compile(rb"[ \t\n\r]*+(?:(" + _STRING + rb'")|([\[\]{},:])|(' + _NUMBER + rb")|(true|false|null))")
_STRING_TOKEN, _MARK, _NUMBER_TOKEN, _LITERAL = 1, 2, 3, 4  # the groups of _TOKEN
_STRING_HEAD = re.compile(_STRING)
_SPACE = re.compile(rb"[ \t\n\r]*+")
_UNICODE_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_SIMPLE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}")

# What may come next.
_VALUE, _FIRST_ITEM, _FIRST_KEY, _KEY, _COLON, _MORE, _END = (
    "a value",
    "a value or ]",
    "a key or }",
    "a key",
    "a colon",
    "a comma or the closing bracket",
    "the end of the text",
)


class _Walk:
    """One exact pass over the tokens of a text, without recursion."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.keys: list[set[bytes] | None] = []  # per open bracket: the keys so far; None for an array
        self.at: list[bytes | int | None] = []  # per open bracket: the key or index under way
        self.bad_utf8 = len(text) + 1  # nowhere
        try:
            text.decode()
        except UnicodeDecodeError as error:
            self.bad_utf8 = error.start

    def compact(self) -> bytes:
        """The text without whitespace. Raises StrictJsonError for the first thing that is wrong."""
        problem = encoding_problem(self.text[:4])
        if problem:
            self.refuse(problem, 0)
        tokens: list[bytes] = []
        expected, position = _VALUE, 0
        while expected is not _END:
            match = _TOKEN.match(self.text, position)
            if match is None:
                self.refuse_character(position, expected)
            kind = match.lastindex or 0
            token = match[kind]
            position = match.end()
            if position > self.bad_utf8:
                self.refuse("is not UTF-8", self.bad_utf8)
            expected = self.step(expected, kind, token, position - len(token))
            tokens.append(token)
        end = self.skip_space(position)
        if end < len(self.text):
            self.refuse(MORE_TEXT, end)
        return b"".join(tokens)

    def step(self, expected: str, kind: int, token: bytes, start: int) -> str:
        """Takes one token; returns what may follow it."""
        if kind == _MARK:
            return self.mark(expected, token, start)
        if kind == _STRING_TOKEN:
            if b"\\u" in token:
                self.check_surrogates(token, start)
            if expected is _KEY or expected is _FIRST_KEY:
                self.add_key(token, start)
                return _COLON
        if not (expected is _VALUE or expected is _FIRST_ITEM):
            self.refuse(f"expected {expected}, found {_shown(token)}", start)
        if kind == _NUMBER_TOKEN:
            self.check_number(token, start)
        return _MORE if self.keys else _END

    def mark(self, expected: str, token: bytes, start: int) -> str:
        """Takes a bracket, a comma or a colon."""
        if token == b":" and expected is _COLON:
            return _VALUE
        if token == b"," and expected is _MORE:
            if self.keys[-1] is not None:
                return _KEY
            index = self.at[-1]
            self.at[-1] = index + 1 if isinstance(index, int) else 0
            return _VALUE
        if token in b"[{" and (expected is _VALUE or expected is _FIRST_ITEM):
            if len(self.keys) == MAX_DEPTH:
                self.refuse(f"nested deeper than {MAX_DEPTH}", start, path=False)
            self.keys.append(set() if token == b"{" else None)
            self.at.append(None if token == b"{" else 0)
            return _FIRST_KEY if token == b"{" else _FIRST_ITEM
        in_object = bool(self.keys) and self.keys[-1] is not None
        if (token == b"}" and in_object and expected in (_MORE, _FIRST_KEY)) or (
            token == b"]" and self.keys and not in_object and expected in (_MORE, _FIRST_ITEM)
        ):
            self.keys.pop()
            self.at.pop()
            return _MORE if self.keys else _END
        return self.refuse(f"expected {expected}, found {_shown(token)}", start)

    def add_key(self, token: bytes, start: int) -> None:
        key = token[1:-1]
        if b"\\" in key:  # the same key may be spelled in many ways
            key = str(_plain.decode(token)).encode()
        seen = self.keys[-1]
        assert seen is not None  # noqa: S101  # narrows the type
        if key in seen:
            self.refuse(f"the key {_shown(token)} is there twice in one object", start)
        seen.add(key)
        self.at[-1] = key

    def check_surrogates(self, token: bytes, start: int) -> None:
        high_ends_at = -1
        for match in _UNICODE_ESCAPE.finditer(token):
            unit = int(match[1], 16) if match[1] else 0
            if high_ends_at >= 0 and not (0xDC00 <= unit < 0xE000 and match.start() == high_ends_at):
                self.refuse("a lone surrogate (half of a character)", start + high_ends_at - 6)
            if 0xDC00 <= unit < 0xE000 and high_ends_at < 0:
                self.refuse("a lone surrogate (half of a character)", start + match.start())
            high_ends_at = match.end() if 0xD800 <= unit < 0xDC00 else -1
        if high_ends_at >= 0:
            self.refuse("a lone surrogate (half of a character)", start + high_ends_at - 6)

    def check_number(self, token: bytes, start: int) -> None:
        if b"." in token or b"e" in token or b"E" in token:
            if float(token) in (float("inf"), float("-inf")):
                self.refuse(f"the number {_shown(token)} is not finite", start)
        elif len(token) > 21 or not INT_MIN <= int(token) <= INT_MAX:
            self.refuse(f"the integer {_shown(token)} needs more than 64 bits", start)

    def skip_space(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position

    def refuse_character(self, position: int, expected: str) -> NoReturn:
        """No token starts here: says why not."""
        text, position = self.text, self.skip_space(position)
        problem = f"expected {expected}, found {_shown(text[position : position + 1])}"
        if position == len(text):
            problem = "the text ends too early" if self.keys or self.skip_space(0) < position else "is empty"
        for word in (b"NaN", b"Infinity", b"-Infinity"):
            if text.startswith(word, position):
                problem = f"{word.decode()} is not a JSON number"
        head = _STRING_HEAD.match(text, position)
        if head is not None:
            position = head.end()
            if position == len(text):
                problem = "the text ends inside a string"
            elif text[position] < 0x20:
                problem = f"a control character (0x{text[position]:02x}) stands in a string unescaped"
            else:
                problem = f"an escape that JSON does not have: {_shown(text[position : position + 2])}"
        if position >= self.bad_utf8:
            position, problem = self.bad_utf8, "is not UTF-8"
        self.refuse(problem, position)

    def refuse(self, problem: str, offset: int, *, path: bool = True) -> NoReturn:
        steps = [_path_step(at) for at in self.at if at is not None]
        if len(steps) > 24:
            steps = [*steps[:12], "...", *steps[-12:]]
        raise StrictJsonError(problem, offset=offset, path="$" + "".join(steps) if path else None)


def _path_step(at: bytes | int) -> str:
    if isinstance(at, int):
        return f"[{at}]"
    key = at.decode(errors="replace")
    if _SIMPLE_KEY.fullmatch(key):
        return f".{key}"
    return f"[{_shown(_encoder.encode(key))}]"


def _shown(token: bytes) -> str:
    """A token as it may stand in a message: short, on one line, printable."""
    return visible(cut(token.decode(errors="replace")))
