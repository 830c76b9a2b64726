"""Turns what a worker function returned, or raised, into JSON text: nothing else leaves a worker."""

from __future__ import annotations

import math
import traceback
from typing import Any

import msgspec

from prealloc.model.outcome import ErrorInfo

MOST_DEPTH = 512
MOST_MESSAGE = 10_000
MOST_TRACEBACK = 50_000

_encoder = msgspec.json.Encoder()


class NoJson(Exception):
    """The value cannot be written as JSON; says which field and why."""


def encode_result(value: Any, most_bytes: int) -> msgspec.Raw:
    """The value as JSON text. Raises NoJson for anything that JSON has no word for.

    Checked by ourselves, because encoders are too kind here: they write NaN as null and bytes as base64.
    """
    _check(value, "result", 0)
    encoded = _encoder.encode(value)
    if len(encoded) > most_bytes:
        raise NoJson(f"result: {len(encoded)} bytes of JSON, the limit is {most_bytes}")
    return msgspec.Raw(encoded)


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that always encodes, whatever its own methods do."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    try:
        message = str(error)
    except Exception as failure:
        message = f"(its message cannot be told: {type(failure).__name__})"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        trace = ""
    return ErrorInfo(
        type=_clean(name),
        message=_clean(message[:MOST_MESSAGE]),
        traceback=_clean(trace[-MOST_TRACEBACK:]) or None,
    )


def _check(value: Any, path: str, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    kind = type(value)
    if kind is str:
        _check_text(value, path)
    elif kind is int:
        if not -(2**63) <= value < 2**64:
            raise NoJson(f"{path}: an integer past 64 bits; return it as a string")
    elif kind is float:
        if not math.isfinite(value):
            raise NoJson(f"{path}: {value} is no JSON number; return null or a string")
    elif isinstance(value, dict | list | tuple):
        _check_container(value, path, depth)
    elif isinstance(value, str | int | float):
        _check(_plain(value), path, depth)  # an enum member or another subclass
    else:
        raise NoJson(f"{path}: {kind.__name__} is no JSON value; return dicts, lists, text, numbers")


def _check_container(value: Any, path: str, depth: int) -> None:
    if depth >= MOST_DEPTH:
        raise NoJson(f"{path[:200]}: nested deeper than {MOST_DEPTH}, or a cycle")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NoJson(f"{path}: the key {key!r:.80} is no string")
            _check_text(key, path)
            _check(item, f"{path}.{key}", depth + 1)
    else:
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)


def _check_text(value: str, path: str) -> None:
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        raise NoJson(f"{path}: half a surrogate pair at character {error.start}") from None


def _plain(value: Any) -> Any:
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    return value


def _clean(text: str) -> str:
    """Text without half surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
