"""Text of unknown origin, made safe to show.

Ids, types, settings and messages come from files and from worker functions. A terminal obeys what it is
sent, so control characters, direction marks and lone surrogates are shown as escapes and never sent.
Rich markup does no harm here: everything is built as `Text`, which is never parsed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from prealloc.report.human import NOTHING


def visible(text: str) -> str:
    r"""The text on one line, every character that does not print written as an escape (`\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def lines(text: str) -> list[str]:
    """The text line by line, each of them visible."""
    return [visible(line.expandtabs(4)) for line in text.splitlines()] or [""]


def value(thing: Any) -> str:
    """A JSON value in few characters: strings bare, anything else as JSON."""
    if isinstance(thing, str):
        return visible(thing)
    try:
        return visible(msgspec.json.encode(thing).decode())
    except (TypeError, ValueError):  # a lone surrogate deep inside
        return visible(repr(thing))


def value_or_nothing(thing: Any) -> str:
    """The same; a dash for what is not there."""
    return NOTHING if thing is None else value(thing)


def _escape(character: str) -> str:
    code = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
