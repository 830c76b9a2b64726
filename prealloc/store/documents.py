"""Reads the JSON documents of plan and run folders: version first, then strictly, then by their type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from prealloc.errors import InputError
from prealloc.files.strict_json import StrictJsonError, loads

D = TypeVar("D", bound=msgspec.Struct)

MOST_BYTES = 256 * 2**20
"""A larger document is none of ours (a plan of 100,000 shards takes 30 MB)."""


def to_json(document: msgspec.Struct) -> bytes:
    """A document as it is written: fields in their order, two spaces of indent, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_bytes(path: Path, refuse: Callable[..., InputError], *, mend: str) -> bytes:
    """The bytes of a regular file of ours; `refuse` makes the error if there is none."""
    try:
        if not path.is_file():
            kind = "is no file" if path.exists() else "does not exist"
            raise refuse(f"it {kind}", where=str(path), mend=mend)
        if path.stat().st_size > MOST_BYTES:
            raise refuse(f"it is larger than {MOST_BYTES} bytes", where=str(path), mend=mend)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise refuse(f"it cannot be read: {error}", where=str(path), mend=mend) from None


def parse(raw: bytes, type: type[D], refuse: Callable[..., InputError], *, where: str, mend: str) -> D:
    """The document in `raw`. Format and version are looked at before anything else is believed."""
    try:
        value = loads(raw, what=where)
    except StrictJsonError as error:
        raise refuse(f"it is no JSON document: {error}", where=where, mend=mend) from None
    fields = {field.name: field.default for field in msgspec.structs.fields(type)}
    if not isinstance(value, dict) or value.get("format") != fields["format"]:
        raise refuse(f"it is no {fields['format']} document", where=where, mend=mend)
    if value.get("version") != fields["version"]:
        raise refuse(
            f"it has version {value.get('version')!r}; this prealloc reads version {fields['version']}",
            where=where,
            mend="use the prealloc that wrote it, or make it anew with this one",
        )
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise refuse(f"a field is wrong: {error}", where=where, mend=mend) from None
