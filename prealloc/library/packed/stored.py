"""What stands first in every stored library, and is looked at first: its format and its version."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.base import AGAIN
from prealloc.model.words import brief, shown

T = TypeVar("T", bound=msgspec.Struct)


class StoredFormat(NamedTuple):
    """A stored format: its name and version, and where to get another file if one of them is damaged."""

    name: str
    version: int
    columns: tuple[str, ...] = ()
    """Of its table, besides those that every table has."""
    again: str = AGAIN

    def encode(self, fields: msgspec.Struct) -> bytes:
        """The JSON document of these fields: format and version stand first."""
        return msgspec.json.encode({"format": self.name, "version": self.version, **msgspec.structs.asdict(fields)})

    def sealed(self, fields: T, *more: bytes | memoryview) -> T:
        """These fields with the `sha256` of their document without it and of what else there is."""
        whole = hashlib.sha256(self.encode(msgspec.structs.replace(fields, sha256="")))
        for piece in more:
            whole.update(piece)
        return msgspec.structs.replace(fields, sha256=whole.hexdigest())

    def decode(self, text: bytes, shape: type[T], where: str) -> T:
        """The fields of such a document. Raises LibraryError."""
        try:
            value = loads(text, what=where)
        except StrictJsonError as error:
            raise self.damaged(f"it is not a JSON document: {error}", where) from None
        return self.fields(value, shape, where)

    def fields(self, value: object, shape: type[T], where: str) -> T:
        """The same of a value that has been decoded."""
        if not isinstance(value, dict) or value.get("format") != self.name:
            raise self.damaged(f"it is not a {self.name} document", where)
        if (found := value.get("version")) != self.version or type(found) is not int:
            raise LibraryError(
                f"it has version {shown(found)}, this prealloc reads version {self.version}:"
                " it was written by a newer prealloc, or is damaged",
                where=where,
                hint=f"use the prealloc that wrote it; or {self.again}",
            )
        fields: dict[str, Any] = {name: item for name, item in value.items() if name not in ("format", "version")}
        try:
            return msgspec.convert(fields, shape)
        except msgspec.ValidationError as error:
            raise self.damaged(f"a field is wrong: {brief(error)}", where) from None

    def damaged(self, problem: str, where: str) -> LibraryError:
        """The error of a file that is of this format, or should be, and is not what was written."""
        return LibraryError(problem, where=where, hint=self.again)
