"""Texts that are not JSON, as JSON: a row of CSV or TSV (RFC 4180) is a task; YAML and TOML are a document."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.paths import is_pattern
from prealloc.library.disk import head_of
from prealloc.library.text.refuse import python, rewrite, text_lines
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.words import brief, shown
from prealloc.processes.setting import ProcessSetting

TABLES = {".csv": ",", ".tsv": "\t"}
"""How the name of a table ends, and what separates its cells."""
MARKUP = (".yaml", ".yml", ".toml")
_CELL_LIMIT = ProcessSetting(csv.field_size_limit, csv.field_size_limit, max)
_LONGEST_CELL = 2**31 - 1
# The csv module allows 128 KB by default.

_LONGEST_HEAD = 1 << 20
_NO_NAME = re.compile(r"(?s)[-+]?\d[\d.,]*|.{41,}")
_QUOTED = re.compile(r'"[^"]*"')
_HINT = "write the table again with what made it, or as JSON lines"
_MOST_YAML = 64 << 20
_DEEP_KEY = re.compile(r"""(?m)^[ \t[]*(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){200}""")
# tomllib takes memory by the square of the parts of a key.


def as_json(text: Iterator[bytes], ending: str, where: str) -> Iterator[bytes]:
    """The text of a file whose name ends so, as JSON; unchanged where the ending is of JSON. Raises LibraryError."""
    if ending in TABLES:
        return _lines_of_table(text, TABLES[ending], where)
    return iter([json_of(text, ending, where)]) if ending in MARKUP else text


def if_without_names(where: str, names: Sequence[str]) -> str | None:
    """What to do if the first line of a table gives these names, and is a title or a task, or has a name twice."""
    ending = name_parts(where).ending
    is_task, twice = any(map(_NO_NAME.fullmatch, names)), len({*names}) < len(names)
    if ending not in TABLES or not (is_task or twice):
        return None
    if twice and len([*filter(None, names)]) == 1:
        return f"if the first line is a title: {rewrite(where, 'tail -n +2')}"
    head = next(unpack_stream(iter([head_of(Path(where), _LONGEST_HEAD)]), where), b"")
    delimiter = _delimiter(TABLES[ending], head.partition(b"\n")[0].decode(errors="ignore"))
    if is_task:
        return f"if the first line is a task: {_as_lines(where, delimiter, f'range({len(names)})')}"
    apart = [name if name not in names[:place] else f"{name}.{place}" for place, name in enumerate(names)]
    return f"if the first line has names: {_as_lines(where, delimiter, f'{apart}', skip=1)}"


def refuse_alike(names: Sequence[str], where: str) -> None:
    """Raises LibraryError if two columns have one name."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        hint = "\n".join(filter(None, [if_without_names(where, names), "rename or drop one of them"]))
        raise LibraryError(f"two columns are called {shown(twice[0])}", where=where, hint=hint)


def _delimiter(usual: str, head: str) -> str:
    """What separates the cells, by the first line."""
    marks = _QUOTED.sub("", head)
    may_be = ",;\t|" if usual == "," else usual  # others where the comma is in numbers
    return next((mark for mark in may_be if mark in marks), usual)


def _lines_of_table(pieces: Iterator[bytes], delimiter: str, where: str) -> Iterator[bytes]:
    """The rows of a table, as JSON lines. Raises LibraryError."""
    with _CELL_LIMIT.at(_LONGEST_CELL):
        try:
            lines = text_lines(pieces, where)
            blank, head = next(((count, line) for count, line in enumerate(lines) if line.strip()), (0, ""))
            delimiter = _delimiter(delimiter, head)
            counted = (last := each for each in itertools.chain(itertools.repeat("\n", blank), [head], lines))
            spaced = f"{delimiter} " in _QUOTED.sub("", head)
            rows = csv.reader(counted, delimiter=delimiter, skipinitialspace=spaced, strict=True)
            names = [name.strip() for name in next(filter(None, rows), [])]
            if names[:1] == [""] and "" not in names[1:] and "index" not in names:
                names[0] = "index"  # as pandas calls it
            refuse_alike(names, where)
            for place, row in enumerate(filter(any, rows)):  # without empty lines, also those of a spreadsheet
                if len(row) != len(names):
                    problem = f"the row has {len(row)} cells, and the first line names {len(names)}"
                    above = if_without_names(where, [*names, "", ""]) if place == 0 and len(names) == 1 else None
                    raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=above or _HINT)
                yield msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n"
        except csv.Error as error:
            is_blank = re.search(rf'" +({re.escape(delimiter)}|\Z)', last.rstrip("\r\n"))
            what = "if it has blanks behind its quotes" if is_blank else "if its quotes are plain text"
            way = _as_lines(where, delimiter, "skipinitialspace=True" if is_blank else "quoting=csv.QUOTE_NONE")
            problem, hint = f"the table is damaged: {error}", f"{_HINT}; {what}: {way}"
            raise LibraryError(problem, where=f"{where}, line {rows.line_num}", hint=hint) from None


def _as_lines(where: str, delimiter: str, option: str, skip: int = 0) -> str:
    """A command that reads the table, or all of a pattern, by Python's own reader with an option, from a row on."""
    modules, row, each, path = "csv, itertools, json", "row", "", "0"
    if is_pattern(Path(where)):
        modules, row, path = "csv, glob, itertools, json", "dict(row, file=file)", "file"
        each = f"for file in sorted(glob.glob({where!r}, recursive=True)) "
    text = f"open({path}, encoding='utf-8-sig', newline=str()), {option}, delimiter=chr({ord(delimiter)})"
    rows = f"{each}for row in itertools.islice(csv.DictReader({text}), {skip}, None)"
    code = f"import {modules}; csv.field_size_limit({_LONGEST_CELL}); [print(json.dumps({row})) {rows}]"
    return f"{python(code)} > fixed-tasks.jsonl" if each else rewrite(where, python(code), ".jsonl")


def json_of(pieces: Iterable[bytes], ending: str, where: str) -> bytes:
    """A text as JSON; several documents in a YAML file as one list. Raises LibraryError."""
    name = "TOML" if ending == ".toml" else "YAML"
    try:
        text = "".join(text_lines(pieces, where))
        value = _toml(text) if name == "TOML" else _yaml(text, where)
        check_json(value, "task")
    except (ValueError, NoJson, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else brief(error)
        problem = f"it is not {name} that JSON can hold: {said.partition('; use sys.')[0]}"
        raise LibraryError(problem, where=where, hint="fix the file, or move it away") from None
    return msgspec.json.encode(value)


def _toml(text: str) -> Any:
    import tomllib

    if _DEEP_KEY.search(text):
        raise ValueError("a key of 200 parts or more")
    return json.loads(json.dumps(tomllib.loads(text), default=lambda date: date.isoformat()))


def _yaml(text: str, where: str) -> Any:
    try:
        from prealloc.library.text import plain_yaml
    except ImportError as error:
        raise LibraryError(f"YAML needs PyYAML ({error})", where=where, hint="pip install 'prealloc[yaml]'") from None

    values = plain_yaml.documents(text)
    if _size(values, {}) > max(_MOST_YAML, 16 * len(text)):
        raise ValueError(plain_yaml.TOO_MUCH)
    if all(isinstance(value, list) for value in values):
        return [task for tasks in values for task in tasks]
    return values[0] if len(values) == 1 else values


def _size(value: Any, known: dict[int, int]) -> int:
    """About how long a value is as JSON, where what an alias names is written again."""
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        text = len(value) if isinstance(value, str) else 1
        known[id(value)] = text + sum(_size(part, known) for part in parts)
    return known[id(value)]
