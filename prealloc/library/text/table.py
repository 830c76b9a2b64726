"""CSV and TSV (RFC 4180) as JSON lines: a row is a task, each cell a string under the name in the first row."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.text.refuse import not_utf8, python, rewrite
from prealloc.processes.setting import ProcessSetting

_CELL_LIMIT = ProcessSetting(csv.field_size_limit, csv.field_size_limit, max)
_LONGEST_CELL = 2**31 - 1
# The csv module allows 128 KB by default.

_HINT = "write the table again with what made it, or as JSON lines"


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """The lines of a text, with their ends as they are; a byte that is not UTF-8 as a lone surrogate."""
    left: list[str] = []
    for text in codecs.iterdecode(pieces, "utf-8-sig", "surrogateescape"):
        left.append(text)
        if "\n" in text or "\r" in text:  # else a long cell would be joined again with each piece
            *lines, last = io.StringIO("".join(left), newline="").readlines()
            left = [last]
            yield from lines
    yield from io.StringIO("".join(left), newline="").readlines()


def lines_of_table(pieces: Iterator[bytes], delimiter: str, where: str) -> Iterator[bytes]:
    """The rows of a table, as JSON lines. Raises LibraryError."""
    with _CELL_LIMIT.at(_LONGEST_CELL):
        yield from _rows(_lines(pieces), delimiter, where)


def _rows(lines: Iterator[str], delimiter: str, where: str) -> Iterator[bytes]:
    try:
        blank, head = next(((count, line) for count, line in enumerate(lines) if line.strip()), (0, ""))
        marks = re.sub(r'"[^"]*"', "", head)
        if delimiter == "," and "," not in marks:  # as where the comma is in numbers
            delimiter = next((mark for mark in ";\t|" if mark in marks), ",")
        counted = itertools.chain(itertools.repeat("\n", blank), [head], lines)
        rows = csv.reader(counted, delimiter=delimiter, strict=True)
        names = next(filter(None, rows), [])
        "".join(names).encode()
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
    except UnicodeEncodeError as error:
        problem = f"the table is not UTF-8: it has the byte 0x{ord(error.object[error.start]) & 0xFF:02x}"
        raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=not_utf8(where)) from None
    except csv.Error as error:
        rows_said = f"csv.DictReader(sys.stdin, delimiter=chr({ord(delimiter)}), quoting=csv.QUOTE_NONE)"
        command = python(f"import csv, json, sys; [print(json.dumps(row)) for row in {rows_said}]")
        hint = f"{_HINT}; if its quotes are plain text: {rewrite(where, command, '.jsonl')}"
        raise LibraryError(
            f"the table is damaged: {error}", where=f"{where}, line {rows.line_num}", hint=hint
        ) from None
