"""CSV and TSV (RFC 4180) as JSON lines: a row is a task, each cell a string under the name in the first row."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from typing import cast

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.text.refuse import refuse_binary

_LONGEST_CELL = 2**31 - 1
"""The csv module allows 128 KB by default."""

_HINT = "write the table again with what made it, or as JSON lines"


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        self._left = self._left or next((piece for piece in self._pieces if piece), b"")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def lines_of_table(pieces: Iterator[bytes], delimiter: str, where: str) -> Iterator[bytes]:
    """The rows of a table, as JSON lines. Raises LibraryError."""
    first = next(pieces, b"")
    refuse_binary(first[:16], where)
    text = io.TextIOWrapper(
        io.BufferedReader(cast(io.RawIOBase, _Pieces(itertools.chain([first], pieces)))), "utf-8-sig", newline=""
    )
    before = csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise LibraryError(f"two columns are called {twice!a:.80}", where=where, hint="rename or drop one of them")
        for row in rows:
            if not row:  # an empty line
                continue
            if len(row) != len(names):
                problem = f"the row has {len(row)} cells, and the first line names {len(names)}"
                raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=_HINT)
            yield msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n"
    except (csv.Error, UnicodeDecodeError) as error:
        raise LibraryError(
            f"the table is damaged: {error}", where=f"{where}, line {rows.line_num}", hint=_HINT
        ) from None
    finally:
        csv.field_size_limit(before)
