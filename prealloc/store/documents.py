"""Reads the JSON documents of plan and run folders: version first, then strictly, then by their type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from prealloc.errors import InputError
from prealloc.files.regular import Unusable, read_regular
from prealloc.files.strict_json import MOST_WALKED, StrictJsonError, loads
from prealloc.model.document import UNREADABLE
from prealloc.model.words import brief

D = TypeVar("D", bound=msgspec.Struct)

MOST_BYTES = 64 * 2**20
"""A larger document was not written by prealloc (a plan of 100,000 shards takes 30 MB)."""


def to_json(document: msgspec.Struct) -> bytes:
    """A document as it is written: fields in their order, two spaces of indent, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_bytes(
    path: Path, refuse: Callable[..., InputError], *, inside: Path, hint: str, most: int = MOST_BYTES
) -> bytes:
    """The bytes of a regular file of ours in the folder `inside`; `refuse` makes the error if there is none."""
    try:
        return read_regular(path, inside=inside, most=most)
    except Unusable as error:
        raise refuse(str(error), where=str(path), hint=hint) from None


def parse(raw: bytes, type: type[D], refuse: Callable[..., InputError], *, where: str, hint: str) -> D:
    """The document in `raw`. Format and version are looked at before anything else is believed."""
    fields = {field.name: field.default for field in msgspec.structs.fields(type)}
    if len(raw) > MOST_WALKED and (problem := _wrong_shape(raw, type, fields)) is not None:
        raise refuse(problem, where=where, hint=hint)
    try:
        value = loads(raw, what=where)
    except StrictJsonError as error:
        raise refuse(f"it is not a JSON document: {error}", where=where, hint=hint) from None
    if not isinstance(value, dict) or value.get("format") != fields["format"]:
        raise refuse(f"it is not a {fields['format']} document", where=where, hint=hint)
    if value.get("version") != fields["version"]:
        problem = f"it has version {value.get('version')!r}; this prealloc reads version {fields['version']}"
        raise refuse(problem, where=where, hint="use the prealloc that wrote it, or make it again with this one")
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise refuse(f"a field is wrong: {brief(error)}", where=where, hint=hint) from None


class _Head(msgspec.Struct):
    """Enough of a document to see whether it is of the right kind; everything else is skipped as bytes."""

    format: msgspec.Raw = msgspec.Raw(b"null")
    version: msgspec.Raw = msgspec.Raw(b"null")


def _wrong_shape(raw: bytes, type: type[D], fields: Mapping[str, Any]) -> str | None:
    """What is wrong with a large document of another type, at once: as plain values it might take gigabytes."""
    expected = [msgspec.json.encode(fields[name]) for name in ("format", "version")]
    try:
        head = msgspec.json.decode(raw, type=_Head)
        if [bytes(head.format), bytes(head.version)] != expected:
            return f"it is not a {type.__name__} document of a version that this prealloc reads"
        msgspec.json.decode(raw, type=type)
    except UNREADABLE as error:
        return f"it is not a JSON document, or a field is wrong: {brief(error)}"
    return None
