"""Whether a Python value has a JSON text that reads back as the same value.

Checked by ourselves, because encoders are too kind here: they write NaN as null, bytes as base64 and sets as lists.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from prealloc.model.words import shown

MOST_DEPTH = 500
"""Less than strict reading allows, since values stand inside documents and journal lines."""


class NoJson(Exception):
    """The value cannot be written as JSON; says which field and why."""


def check_json(value: Any, name: str, most_depth: int = MOST_DEPTH) -> None:
    """Raises NoJson, which names the field from `name` on, for anything that JSON has no word for."""
    # Without recursion: a value nested too deep must not exhaust our own stack.
    left: list[Place] = [(value, None, name, 0)]
    while left:
        place = left.pop()
        item, depth = place[0], place[3]
        if not isinstance(item, dict | list | tuple):
            check_scalar(item, place)
        elif depth >= most_depth:
            raise NoJson(f"{path_of(place)[:200]}: nested deeper than {most_depth}, or a cycle")
        elif isinstance(item, dict):
            for key, inner in item.items():
                _check_key(key, place)
                left.append((inner, place, key, depth + 1))
        else:
            left += [(inner, place, index, depth + 1) for index, inner in enumerate(item)]


Place = tuple[Any, "Place | None", str | int | None, int]
"""A value, what it lies in, its name or index there if it has one, and how deep. Only a refusal spells out its path."""


def path_of(place: Place) -> str:
    """Where it stands, such as `result.calls[3].answer`."""
    steps: list[str] = []
    at: Place | None = place
    while at is not None:
        _, at, step, _ = at
        if step is not None:
            steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(reversed(steps))[1:]


def _check_key(key: object, place: Place) -> None:
    if not isinstance(key, str):
        raise NoJson(f"{path_of(place)}: the key {shown(key)} is not a string")
    if not key.isascii():
        check_text(key, path_of(place))


def check_scalar(value: Any, place: Place) -> None:
    """Raises NoJson for anything but text, numbers, true, false and null."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if not value.isascii():
            check_text(value, path_of(place))
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise NoJson(f"{path_of(place)}: an integer past 64 bits; make it a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NoJson(f"{path_of(place)}: {value} is not a JSON number; make it null or a string")
    else:
        raise NoJson(f"{path_of(place)}: {type(value).__name__} is not a JSON value; use dicts, lists, text, numbers")


def check_text(value: str, path: str) -> None:
    """Raises NoJson for text that no UTF-8 can hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NoJson(f"{path}: half a surrogate pair at character {error.start}") from None


def canonical(value: Any) -> str:
    """Its JSON text with sorted keys: equal values have the same."""
    return msgspec.json.encode(value, order="sorted").decode()


def plain(value: Any) -> str:
    """A JSON value as people write it: text bare, anything else as JSON."""
    return value if isinstance(value, str) else canonical(value)
