"""Every format that a task library can have, in one table: by it a library is found, opened and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.unpack import name_parts
from prealloc.model.fields import Fields

if TYPE_CHECKING:
    from prealloc.library.base import Add, Library


class LibraryFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A format: how its names end and how its content begins. Its `module:function`s are imported on first use."""

    name: str
    endings: tuple[str, ...]
    writer: str
    opener: str = ""
    """Nothing for JSON, which has several ways: see open.py."""
    magic: bytes = b""
    """The first bytes, for a binary format."""
    is_foreign: bool = False
    """Whether others write it too, so that its tasks may be named otherwise."""

    @property
    def packs(self) -> bool:
        """Whether it may be packed: what is read by places in the file may not."""
        return not self.opener

    def open(self, path: Path, *, keep: tuple[str, ...], fields: Fields) -> Library:
        """The library at `path`. Raises LibraryError."""
        asked = {"fields": fields} if self.is_foreign else {}
        library: Library = loaded(self.opener, path)(path, keep=keep, **asked)
        return library

    def lines(self, path: Path, *, keep: tuple[str, ...], fields: Fields) -> Iterator[bytes]:
        """The texts of all tasks, with the fields that they have in it. Raises LibraryError."""
        if self.is_foreign:
            lines: Iterator[bytes] = loaded("parquet.library:lines_of", path)(path, keep=keep, fields=fields)
            return lines
        library = self.open(path, keep=keep, fields=fields)
        return library.texts(range(len(library)))

    def new(self, out: Path, *, force: bool) -> AbstractContextManager[Add]:
        """What takes tasks into a new library, which is at `out` if the block ends well; else nothing is left of it.

        Raises InputError if `out` is there (unless `force`, and it is a library) or cannot be made, CannotGoOn if the
        disk is full.
        """
        writer: AbstractContextManager[Add] = loaded(self.writer, out)(out, force=force)
        return writer


def loaded(function: str, where: str | Path) -> Any:
    """A `module:function` of these formats. Raises LibraryError if what it needs is not installed."""
    module, name = function.split(":")
    try:
        return getattr(import_module(f"prealloc.library.{module}"), name)
    except ImportError as error:
        if module != "parquet.library":
            raise
        problem, hint = f"Parquet and Arrow need pyarrow ({error})", "pip install 'prealloc[parquet]'"
        raise LibraryError(problem, where=str(where), hint=hint) from None


JSON_LINES = LibraryFormat(name="jsonl", endings=(".jsonl", ".ndjson"), writer="convert:new_lines")
PARTS = LibraryFormat(name="parts", endings=(".parts",), writer="parts:new_parts", opener="parts:PartsLibrary")
FORMATS = (
    LibraryFormat(name="json", endings=(".json",), writer="convert:new_json"),
    JSON_LINES,
    LibraryFormat(
        name="database",
        endings=(".db", ".sqlite", ".sqlite3"),
        writer="database:new_database",
        opener="database:DatabaseLibrary",
        magic=b"SQLite format 3\0",
    ),
    PARTS,
    LibraryFormat(
        name="parquet",
        endings=(".parquet",),
        writer="parquet.library:new_parquet",
        opener="parquet.library:ParquetLibrary",
        magic=b"PAR1",
        is_foreign=True,
    ),
    LibraryFormat(
        name="pool",
        endings=(".pool",),
        writer="packed.pool:new_pool",
        opener="packed.pool:SharedTaskPool",
        magic=b"prealloc-pool 1\n",
    ),
)


def format_named(name: str) -> LibraryFormat | None:
    """The format that a name says, in letters of either case; None if it says none."""
    _, ending, packed = name_parts(name)
    return next((format for format in FORMATS if ending in format.endings and (format.packs or not packed)), None)


def binary_format(head: bytes) -> LibraryFormat | None:
    """The binary format of a file that begins with these bytes; None for what may be text."""
    return next((format for format in FORMATS if format.magic and head.startswith(format.magic)), None)
