"""Values and lists as they may stand in a message: short, on one line, printable."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def shown(value: Any) -> str:
    """A value of any kind. (One that may be a key is shown by `options.safely_shown`.)"""
    try:
        return cut(ascii(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits; a thousand brackets
        return f"this {type(value).__name__}"


def cut(text: str) -> str:
    """A text of at most 80 characters: its beginning and its end."""
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"


def brief(problem: object) -> str:
    """What a parser says, cut in its middle: it may repeat a field name of a megabyte, with any characters."""
    text = str(problem)
    text = text if len(text) <= 400 else f"{text[:300]}...{text[-60:]}"
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    r"""The text on one line, every character that does not print written as an escape (`\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(path: object) -> str:
    """A path as one word of a shell command, which is not taken for an option."""
    return word(f"./{path}" if str(path).startswith("-") else str(path))


def word(text: str) -> str:
    """A text as one word of a shell command: nothing in it is run."""
    if text.isprintable():
        return shlex.quote(text)
    plain = (c if c.isprintable() and c not in "\\'" else "".join(f"\\x{b:02x}" for b in os.fsencode(c)) for c in text)
    return f"$'{''.join(plain)}'"  # else a terminal, which is shown escapes, shows another name


def listed(items: Iterable[str], most: int = 10, sep: str = ", ") -> str:
    """The first of these and how many there are besides: `a, b and 3 more`."""
    every = list(items)
    more = len(every) - most
    return sep.join(every[:most]) + (f" and {more} more" if more > 0 else "")


def size(count: int) -> str:
    """Bytes, in powers of 1000: `812 B`, `9.4 kB`, `412 MB`."""
    value = float(count)
    for name in _SIZES:
        text = f"{value:.1f}" if name != "B" and value < 9.95 else f"{value:.0f}"
        # Rounding decides the step: 999.6 kB is 1.0 MB, never 1000 kB.
        if text != "1000" and value < 1000:
            return f"{text} {name}"
        value /= 1000
    return f"{value * 1000:.0f} {_SIZES[-1]}"
