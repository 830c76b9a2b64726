"""Whether a Python value has a JSON text that reads back as the same value.

Checked by ourselves, because encoders are too kind here: they write NaN as null, bytes as base64 and sets as lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MOST_DEPTH = 500
"""Less than strict reading allows, since values stand inside documents and journal lines."""


def shown(value: Any) -> str:
    """A value of any kind as it may stand in a message: short, on one line, printable."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a thousand brackets
        return f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"


def brief(problem: object) -> str:
    """What a parser says, cut in its middle: it may repeat a field name of a megabyte."""
    text = str(problem)
    return text if len(text) <= 400 else f"{text[:300]}...{text[-60:]}"


class NoJson(Exception):
    """The value cannot be written as JSON; says which field and why."""


def check_json(value: Any, name: str, most_depth: int = MOST_DEPTH) -> None:
    """Raises NoJson, which names the field from `name` on, for anything that JSON has no word for."""
    # Without recursion: a value nested too deep must not exhaust our own stack.
    left: list[tuple[Any, str, int]] = [(value, name, 0)]
    while left:
        item, path, depth = left.pop()
        if isinstance(item, dict | list | tuple):
            if depth >= most_depth:
                raise NoJson(f"{path[:200]}: nested deeper than {most_depth}, or a cycle")
            left += [(inner, inner_path, depth + 1) for inner, inner_path in _inside(item, path)]
        else:
            _check_scalar(item, path)


def _inside(container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(container, dict):
        for key, item in container.items():
            if not isinstance(key, str):
                raise NoJson(f"{path}: the key {key!r:.80} is no string")
            check_text(key, path)
            yield item, f"{path}.{key}"
    else:
        for index, item in enumerate(container):
            yield item, f"{path}[{index}]"


def _check_scalar(value: Any, path: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise NoJson(f"{path}: an integer past 64 bits; make it a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NoJson(f"{path}: {value} is no JSON number; make it null or a string")
    else:
        raise NoJson(f"{path}: {type(value).__name__} is no JSON value; use dicts, lists, text, numbers")


def check_text(value: str, path: str) -> None:
    """Raises NoJson for text that no UTF-8 can hold."""
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        raise NoJson(f"{path}: half a surrogate pair at character {error.start}") from None
