"""The root of everything that is written to JSON files."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from prealloc.model.words import brief

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, or not of the type that they should be."""


class Unreadable(ValueError):
    """What another process said makes no sense. It costs that process, never the run."""


def heard(decoder: msgspec.json.Decoder[T], said: bytes) -> T:
    """What another process said: a worker, a generator, a program. Raises Unreadable.

    Whoever speaks to us runs code that is not ours, and may say anything. So nothing of it is decoded but here, and
    numbers in the types of messages have bounds: one that JSON cannot hold would only fail when it is told on.
    """
    try:
        return decoder.decode(said)
    except UNREADABLE as error:
        raise Unreadable(f"{brief(error)}, it began {said[:60]!r}") from None


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that is written to JSON files as it stands, and read back strictly."""
