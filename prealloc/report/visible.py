"""Text of unknown origin, made safe to show.

Ids, types, settings and messages come from files and from worker functions. A terminal obeys what it is
sent, so control characters, direction marks and lone surrogates are shown as escapes and never sent.
Rich markup does no harm here: everything is built as `Text`, which is never parsed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from prealloc.model.words import visible
from prealloc.report.human import NOTHING

__all__ = ["lines", "value", "value_or_nothing", "visible"]


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
