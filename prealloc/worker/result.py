"""Turns what a worker function returned, or raised, into JSON text: nothing else leaves a worker."""

from __future__ import annotations

import traceback
from typing import Any

import msgspec

from prealloc.model.json_value import NoJson, check_json
from prealloc.model.outcome import ErrorInfo

MOST_MESSAGE = 10_000
MOST_TRACEBACK = 50_000

_encoder = msgspec.json.Encoder()


def encode_result(value: Any, most_bytes: int, name: str = "result") -> msgspec.Raw:
    """The value as JSON text. Raises NoJson for anything that JSON has no word for."""
    check_json(value, name)
    try:
        encoded = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:  # a subclass of str that is odd, say
        raise NoJson(f"{name}: {error}") from None
    if len(encoded) > most_bytes:
        raise NoJson(f"{name}: {len(encoded)} bytes of JSON, the limit is {most_bytes}")
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


def _clean(text: str) -> str:
    """Text without half surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
