"""The root of everything that is written to JSON files."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from prealloc.model.words import brief

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not JSON, or not of the type that they should be."""


class Unreadable(ValueError):
    """What another process said makes no sense. It costs that process, never the run."""


def heard(decoder: msgspec.json.Decoder[T], said: bytes) -> T:
    """What another process said: a worker, a generator, a program. Raises Unreadable.

    The sender runs code that is not ours, and may send anything. So all of it is decoded here and nowhere else, and
    numbers in the types of messages have bounds: one that JSON cannot hold would only fail when it is passed on.
    """
    try:
        return decoder.decode(said)
    except UNREADABLE as error:
        raise Unreadable(f"{brief(error)}, it began {said[:60]!r}") from None


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that is written to JSON files as it stands, and read back strictly."""
