"""CSV and TSV (RFC 4180) as JSON lines: a row is a task, each cell a string under the name in the first row."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.text.refuse import not_utf8, python, rewrite
from prealloc.processes.setting import ProcessSetting

_CELL_LIMIT = ProcessSetting(csv.field_size_limit, csv.field_size_limit, max)
_LONGEST_CELL = 2**31 - 1
# The csv module allows 128 KB by default.

_NO_NAME = re.compile(r"[-+]?\d[\d.,]*|.{41,}", re.DOTALL)
_MANY = 100
# A command does not name so many columns.
_PLAIN = ("if its quotes are plain text", ", quoting=csv.QUOTE_NONE")
_LENIENT = ("if a blank behind a quote is a part of the cell", "")
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


def lines_of_table(pieces: Iterator[bytes], delimiter: str, where: str, advice: list[str]) -> Iterator[bytes]:
    """The rows of a table, as JSON lines; adds to `advice` if the first line may be no names. Raises LibraryError."""
    with _CELL_LIMIT.at(_LONGEST_CELL):
        yield from _rows(_lines(pieces), delimiter, where, advice)


def _rows(lines: Iterator[str], delimiter: str, where: str, advice: list[str]) -> Iterator[bytes]:
    last = ""

    def told(lines: Iterable[str]) -> Iterator[str]:
        nonlocal last
        for line in lines:
            last = line
            yield line

    try:
        blank, head = next(((count, line) for count, line in enumerate(lines) if line.strip()), (0, ""))
        marks = re.sub(r'"[^"]*"', "", head)
        if delimiter == "," and "," not in marks:  # as where the comma is in numbers
            delimiter = next((mark for mark in ";\t|" if mark in marks), ",")
        counted = itertools.chain(itertools.repeat("\n", blank), [head], lines)
        rows = csv.reader(told(counted), delimiter=delimiter, strict=True)
        names = next(filter(None, rows), [])
        "".join(names).encode()
        twice = [name for name, times in Counter(names).items() if times > 1]
        if len(names) < _MANY and (twice or any(map(_NO_NAME.fullmatch, names))):
            columns = delimiter.join(f"c{number}" for number, _ in enumerate(names, 1)).replace("\t", r"\t")
            headed = rewrite(where, rf"(printf '{columns}\n'; cat)")
            advice[:] = [f"if the first line is a task: {headed}"]
        if twice:
            hint = "\n".join([*advice, "rename or drop one of them"])
            raise LibraryError(f"two columns are called {twice[0]!a:.80}", where=where, hint=hint)
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
        is_lenient = re.search(rf'" +({re.escape(delimiter)}|\s*\Z)', last)
        what, quoting = _LENIENT if is_lenient else _PLAIN
        rows_said = f"csv.DictReader(sys.stdin, delimiter=chr({ord(delimiter)}){quoting})"
        command = python(f"import csv, json, sys; [print(json.dumps(row)) for row in {rows_said}]")
        hint = f"{_HINT}; {what}: {rewrite(where, command, '.jsonl')}"
        raise LibraryError(
            f"the table is damaged: {error}", where=f"{where}, line {rows.line_num}", hint=hint
        ) from None
