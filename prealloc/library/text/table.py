"""CSV and TSV (RFC 4180) as JSON lines: a row is a task, each cell a string under the name in the first row."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.paths import is_pattern
from prealloc.library.disk import head_of
from prealloc.library.text.refuse import python, rewrite, text_lines
from prealloc.library.unpack import name_parts
from prealloc.model.words import shown
from prealloc.processes.setting import ProcessSetting

TABLES = {".csv": ",", ".tsv": "\t"}
"""How the name of a table ends, and what separates its cells."""
_CELL_LIMIT = ProcessSetting(csv.field_size_limit, csv.field_size_limit, max)
LONGEST_CELL = 2**31 - 1
# The csv module allows 128 KB by default.

_LONGEST_HEAD = 1 << 20
_NO_NAME = re.compile(r"(?s)[-+]?\d[\d.,]*|.{41,}")
_HINT = "write the table again with what made it, or as JSON lines"


def if_without_names(where: str, names: Sequence[str]) -> str | None:
    """What to do if the first line of a table, which gives these names, is a task; None where they look like names."""
    _, ending, packed = name_parts(where)
    if ending not in TABLES or not (len({*names}) < len(names) or any(map(_NO_NAME.fullmatch, names))):
        return None
    head = "" if packed else head_of(Path(where), _LONGEST_HEAD).decode(errors="ignore")
    delimiter = _delimiter(TABLES[ending], head.partition("\n")[0])
    if packed and delimiter == ",":
        return None  # which may be another
    return f"if the first line is a task: {_as_lines(where, delimiter, f'range({len(names)})')}"


def refuse_alike(names: Sequence[str], where: str) -> None:
    """Raises LibraryError if two columns have one name."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        hint = "\n".join(filter(None, [if_without_names(where, names), "rename or drop one of them"]))
        raise LibraryError(f"two columns are called {shown(twice[0])}", where=where, hint=hint)


def _delimiter(usual: str, head: str) -> str:
    """What separates the cells, by the first line."""
    marks = re.sub(r'"[^"]*"', "", head)
    if usual != "," or "," in marks:
        return usual
    return next((mark for mark in ";\t|" if mark in marks), ",")  # as where the comma is in numbers


def lines_of_table(pieces: Iterator[bytes], delimiter: str, where: str) -> Iterator[bytes]:
    """The rows of a table, as JSON lines. Raises LibraryError."""
    with _CELL_LIMIT.at(LONGEST_CELL):
        try:
            lines = text_lines(pieces, where)
            blank, head = next(((count, line) for count, line in enumerate(lines) if line.strip()), (0, ""))
            delimiter = _delimiter(delimiter, head)
            counted = itertools.chain(itertools.repeat("\n", blank), [head], lines)
            rows = csv.reader(counted, delimiter=delimiter, strict=True)
            names = next(filter(None, rows), [])
            refuse_alike(names, where)
            for row in filter(None, rows):  # without empty lines
                if len(row) != len(names):
                    problem = f"the row has {len(row)} cells, and the first line names {len(names)}"
                    raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=_HINT)
                yield msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n"
        except csv.Error as error:
            line = b"".join(head_of(Path(where), _LONGEST_HEAD).splitlines()[rows.line_num - 1 : rows.line_num])
            is_blank = re.search(rb'" +(%b|\Z)' % re.escape(delimiter.encode()), line)
            what = "if it has blanks behind its quotes" if is_blank else "if its quotes are plain text"
            way = _as_lines(where, delimiter, "skipinitialspace=True" if is_blank else "quoting=csv.QUOTE_NONE")
            problem, hint = f"the table is damaged: {error}", f"{_HINT}; {what}: {way}"
            raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=hint) from None


def _as_lines(where: str, delimiter: str, option: str) -> str:
    """A command that reads the table, or all of a pattern, by Python's own reader with an option."""
    modules, row, each, path = "csv, json", "row", "", "0"
    if is_pattern(Path(where)):
        modules, row, path = "csv, glob, json", "dict(row, file=file)", "file"
        each = f"for file in sorted(glob.glob({where!r}, recursive=True)) "
    text = f"open({path}, encoding='utf-8-sig', newline=str())"
    rows = f"{each}for row in csv.DictReader({text}, {option}, delimiter=chr({ord(delimiter)}))"
    code = f"import {modules}; csv.field_size_limit({LONGEST_CELL}); [print(json.dumps({row})) {rows}]"
    return f"{python(code)} > fixed-tasks.jsonl" if each else rewrite(where, python(code), ".jsonl")
