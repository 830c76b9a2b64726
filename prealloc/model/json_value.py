"""Whether a Python value is JSON: encoders are too kind, they write NaN as null, dates as text, bytes as base64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


def json_problem(value: Any, path: str, *, most_depth: int) -> str | None:
    """What in the value JSON has no word for, as one sentence with its place; None if it is all JSON.

    Refused are numbers that are not finite, integers past 64 bits, half surrogate pairs, keys that are no text, and
    more than `most_depth` containers in one another. `path` is what the value itself is called.
    """
    # Without recursion: a value nested too deep must not exhaust our own stack.
    left: list[tuple[Any, str, int]] = [(value, path, 0)]
    try:
        while left:
            item, place, depth = left.pop()
            if isinstance(item, dict | list | tuple):
                if depth >= most_depth:
                    return f"{place[:200]}: nested deeper than {most_depth}, or a cycle"
                left += [(inner, inner_place, depth + 1) for inner, inner_place in _inside(item, place)]
            else:
                _check_scalar(item, place)
    except _NoJson as problem:
        return str(problem)
    return None


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


class _NoJson(Exception):
    pass


def _inside(container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(container, dict):
        for key, item in container.items():
            if not isinstance(key, str):
                raise _NoJson(f"{path}: the key {key!r:.80} is no string")
            _check_text(key, path)
            yield item, f"{path}.{key}"
    else:
        for index, item in enumerate(container):
            yield item, f"{path}[{index}]"


def _check_scalar(value: Any, path: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise _NoJson(f"{path}: an integer past 64 bits; use a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _NoJson(f"{path}: {value} is no JSON number; use null or a string")
    else:
        raise _NoJson(f"{path}: {type(value).__name__} is no JSON value; use dicts, lists, text, numbers")


def _check_text(value: str, path: str) -> None:
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        raise _NoJson(f"{path}: half a surrogate pair at character {error.start}") from None
