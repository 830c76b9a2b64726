"""Turns what a worker function returned, or raised, into JSON text: nothing else leaves a worker."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from prealloc.model.json_value import NoJson, check_json
from prealloc.model.outcome import ErrorInfo
from prealloc.model.secret import masked
from prealloc.model.words import listed
from prealloc.worker.infrastructure import every_error

MOST_MESSAGE = 10_000
MOST_ROOT = 500
MOST_TRACEBACK = 50_000
MOST_FLAWS = 5
"""Fields that cannot be written, named in one error."""
_MARGIN = 1_000
"""A key that is cut in two would not be known for one."""

_HERE = os.path.dirname(__file__)

_encoder = msgspec.json.Encoder()


class Written(NamedTuple):
    """A result as it leaves the worker."""

    json: msgspec.Raw
    value: Any
    """What `json` says, in Python."""
    flaws: Sequence[str] = ()
    """A sentence for each field that cannot be written, and is null in `json`."""


def write_result(value: Any, most_bytes: int, name: str = "result") -> Written:
    """The value as JSON text. What has one obvious JSON form is written in it: see prealloc.worker.json_form."""
    flaws: list[str] = []
    try:
        check_json(value, name)
        encoded = _encoder.encode(value)
    except (NoJson, TypeError, ValueError, RecursionError):  # a subclass of float that is odd, say
        from prealloc.worker.json_form import json_form

        value, flaws = json_form(value, name)
        encoded = _encoder.encode(value)
    if len(encoded) > most_bytes:
        value, too_long = _shortened(value, len(encoded), most_bytes, name)
        flaws += too_long
        encoded = _encoder.encode(value)
    return Written(msgspec.Raw(encoded), value, flaws)


def no_json(flaws: Sequence[str]) -> ErrorInfo | None:
    """The error of a unit whose result has such fields; None if there are none. What could be written is kept."""
    if not flaws:
        return None
    return ErrorInfo(type="NoJson", message=_clean(listed(flaws, MOST_FLAWS, "; ")))


def _shortened(value: Any, size: int, most_bytes: int, name: str) -> tuple[Any, list[str]]:
    """The value without its largest fields, so that it fits: what is left was paid for as well."""
    flaws = []
    limit = f"the limit is {most_bytes}"
    kept = dict(value) if isinstance(value, dict) else {}
    sizes = {key: len(_encoder.encode(field)) for key, field in kept.items()}
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        if size <= most_bytes:
            break
        flaws.append(f"{name}.{key}: {sizes[key]} bytes of JSON, {limit} for the whole {name}")
        kept[key] = None
        size -= sizes[key] - len(b"null")
    return (kept, flaws) if size <= most_bytes else (None, [f"{name}: {size} bytes of JSON, {limit}"])


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that always encodes, whatever its own methods do."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    try:
        message = str(error)
    except BaseException as failure:
        message = f"(its message cannot be read: {type(failure).__name__})"
    # Masked before it is cut: half a key is not known as one.
    message = masked(message[: MOST_MESSAGE + _MARGIN])[:MOST_MESSAGE] + _root(error, message)
    try:
        trace = "".join(traceback.format_exception(cls, error, _of_the_task(error.__traceback__)))
    except BaseException:
        trace = ""
    return ErrorInfo(
        type=_clean(name),
        message=masked(_clean(message)),
        traceback=masked(_clean(trace[-MOST_TRACEBACK - _MARGIN :]))[-MOST_TRACEBACK:] or None,
    )


def _of_the_task(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from where it enters the user's code: how prealloc came there says nothing."""
    inner = trace
    while inner is not None and os.path.dirname(inner.tb_frame.f_code.co_filename) == _HERE:
        inner = inner.tb_next
    return trace if inner is None else inner


def without_keys(error: ErrorInfo, variables: Collection[str]) -> ErrorInfo:
    """The error without the values of these environment variables in it."""
    if not variables:
        return error
    trace = masked(error.traceback, variables) if error.traceback is not None else None
    return msgspec.structs.replace(error, message=masked(error.message, variables), traceback=trace)


def _root(error: BaseException, message: str) -> str:
    """What it came from in the end, if that says more: "Connection error." alone does not help."""
    try:
        *_, root = every_error(error)
        text = str(root).strip().partition("\n")[0][:MOST_ROOT]
    except BaseException:
        return ""
    if root is error or (text and text in message):
        return ""
    return f" (from {type(root).__name__}{': ' if text else ''}{text})"


def _clean(text: str) -> str:
    """Text without half surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
