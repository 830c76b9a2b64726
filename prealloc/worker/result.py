"""Turns what a worker function returned, or raised, into JSON text: nothing else leaves a worker."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
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
    _check(value)
    try:
        encoded = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:  # a subclass of str that is odd, say
        raise NoJson(f"result: {error}") from None
    if len(encoded) > most_bytes:
        raise NoJson(f"result: {len(encoded)} bytes of JSON, the limit is {most_bytes}")
    return msgspec.Raw(encoded)


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that always encodes, whatever its own methods do."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    try:
        message = str(error)
    except BaseException as failure:
        message = f"(its message cannot be told: {type(failure).__name__})"
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException:
        trace = ""
    return ErrorInfo(
        type=_clean(name),
        message=_clean(message[:MOST_MESSAGE]),
        traceback=_clean(trace[-MOST_TRACEBACK:]) or None,
    )


def _check(value: Any) -> None:
    """Walks the value without recursion: a value nested too deep must not exhaust our own stack."""
    left: list[tuple[Any, str, int]] = [(value, "result", 0)]
    while left:
        item, path, depth = left.pop()
        if isinstance(item, dict | list | tuple):
            if depth >= MOST_DEPTH:
                raise NoJson(f"{path[:200]}: nested deeper than {MOST_DEPTH}, or a cycle")
            left += [(inner, inner_path, depth + 1) for inner, inner_path in _inside(item, path)]
        else:
            _check_scalar(item, path)


def _inside(container: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(container, dict):
        for key, item in container.items():
            if not isinstance(key, str):
                raise NoJson(f"{path}: the key {key!r:.80} is no string")
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
            raise NoJson(f"{path}: an integer past 64 bits; return it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NoJson(f"{path}: {value} is no JSON number; return null or a string")
    else:
        raise NoJson(f"{path}: {type(value).__name__} is no JSON value; return dicts, lists, text, numbers")


def _check_text(value: str, path: str) -> None:
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        raise NoJson(f"{path}: half a surrogate pair at character {error.start}") from None


def _clean(text: str) -> str:
    """Text without half surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
