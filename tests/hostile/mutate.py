"""Spoils good bytes at random, but the same way for the same random numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1e308", b"18446744073709551616", b"9" * 400, b"true", b"null",
    b'"\\ud800"', b'"\\u0000"', b'""', b"[" * 600, b"[" * 50_000, b'{"a":' * 600, b"{}", b"[]", b"]", b"}", b'"', b",",
    b":", b"\\", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\0" * 100, b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"..",
    b"../../outside/thesis.tex", b"/etc/passwd", b"[run]\n", b"x" * 300,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64 - 1, 10**12, 10**30, -(2**63), 0.5, -0.0, 1e308, 5e-324,
    "", "x", "\0", "..", "../../outside/thesis.tex", "/etc/passwd", "a" * 300, "\u202e", "é", "1", "ok", [], {}, [[]],
    {"a": 1}, ["a", "a"], [1, "a", None],
)  # fmt: skip


def mutate(raw: bytes, random: Random, *, lines: bool = False) -> bytes:
    """One to three mutations. With `lines` the text is JSON lines, else a document (or no JSON at all)."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        raw = _json(raw, random, lines=lines) if random.random() < 0.5 else random.choice(BYTES)(raw, random)
    return raw


# -- bytes ------------------------------------------------------------------------------------------------------


def _flip(raw: bytes, random: Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 8)) if raw else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _span(raw: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(raw))
    return start, min(len(raw), start + random.choice((1, 1, 2, 5, 20, 200)))


def _delete(raw: bytes, random: Random) -> bytes:
    start, end = _span(raw, random)
    return raw[:start] + raw[end:]


def _insert(raw: bytes, random: Random) -> bytes:
    at = random.randint(0, len(raw))
    return raw[:at] + random.choice(TOKENS) + raw[at:]


def _overwrite(raw: bytes, random: Random) -> bytes:
    at, token = random.randint(0, len(raw)), random.choice(TOKENS)
    return raw[:at] + token + raw[at + len(token) :]


def _double(raw: bytes, random: Random) -> bytes:
    start, end = _span(raw, random)
    return raw[:end] + raw[start:end] * random.choice((1, 1, 2, 50)) + raw[end:]


def _swap(raw: bytes, random: Random) -> bytes:
    cuts = sorted(random.randint(0, len(raw)) for _ in range(4))
    a, b, c, d = cuts
    return raw[:a] + raw[c:d] + raw[b:c] + raw[a:b] + raw[d:]


def _cut(raw: bytes, random: Random) -> bytes:
    return raw[: random.randint(0, len(raw))]


def _zero_tail(raw: bytes, random: Random) -> bytes:
    return _cut(raw, random) + b"\0" * random.choice((1, 100, 5000))


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip, _flip, _delete, _insert, _overwrite, _double, _swap, _cut, _zero_tail,
)  # fmt: skip


# -- JSON -------------------------------------------------------------------------------------------------------


def _json(raw: bytes, random: Random, *, lines: bool) -> bytes:
    """One value in the document changed, or in one of its lines. What is no JSON (any more) gets a byte mutation."""
    rows = raw.split(b"\n") if lines else [raw]
    number = random.randrange(len(rows))
    try:
        document = json.loads(rows[number])
    except (ValueError, RecursionError):
        return random.choice(BYTES)(raw, random)
    text = json.dumps(_changed(document, random), ensure_ascii=random.random() < 0.5, separators=(",", ":"))
    rows[number] = text.encode("utf-8", "surrogatepass")
    return b"\n".join(rows)


def _changed(document: Any, random: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        inside = left.pop()
        keys = list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
        places += [(inside, key) for key in keys]
        left += [inside[key] for key in keys]
    if not places:
        return random.choice(VALUES)
    inside, key = random.choice(places)
    value = inside[key]
    way = random.randrange(6)
    if way == 0:
        del inside[key]
    elif way == 1 and isinstance(inside, dict):
        inside[random.choice((*inside, "more", ""))] = inside.pop(key)
    elif way == 2:
        other, place = random.choice(places)
        try:
            inside[key], other[place] = other[place], value
            json.dumps(document)
        except (ValueError, KeyError, IndexError, RecursionError):  # one inside the other
            inside[key] = None
            return None
    elif way == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        inside[key] = random.choice((-value, value + 1, value * 10**12, float(value), str(value), 2**63, -1))
    elif way == 4 and isinstance(inside, list):
        inside.insert(key, value)
    else:
        inside[key] = random.choice(VALUES)
    return document
