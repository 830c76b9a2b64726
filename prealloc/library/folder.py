"""Which file of a folder holds the tasks of a difficulty."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.library.disk import files_below, head_of
from prealloc.library.formats import FORMATS, PARTS, ending_of
from prealloc.library.text.refuse import python
from prealloc.library.text.sources import OTHER
from prealloc.model.words import quoted

_JSON = ending_of(format for format in FORMATS if format.packs)
_OF_DATASETS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
# What the package `datasets` says of a library, in files beside it.

_NONE = "give the library's file; this folder has none (.json, .jsonl, .csv, .parquet, ...)"
_TABLES = "import pathlib, pyarrow; from pyarrow import ipc, parquet"
_ONE_TABLE = "parquet.write_table(pyarrow.concat_tables([%s for f in files]), 'tasks.parquet')"
_LINES = "out = open('tasks.jsonl', 'w'); [print(json.dumps(task), file=out) for f in files for task in %s]"
_ROWS = "csv.DictReader(open(f, encoding='utf-8-sig', newline=str()), dialect='%s')"
_TEXT = "[{'id': str(f.relative_to(root)), 'text': f.read_text()}]"
_ONE_OF = (
    (".parquet", rb"", _TABLES, _ONE_TABLE % "parquet.read_table(f, partitioning=None)"),
    (".arrow", rb"", _TABLES, _ONE_TABLE % "ipc.open_stream(open(f, 'rb')).read_all()"),
    (".json", rb"\A\[\s*(\{)", "import json, pathlib", _LINES % "json.loads(f.read_bytes())"),
    (".jsonl", rb'"([^"\\]*)"[ \t]*:', "", ""),
    (".csv", rb"\A[^,]+,", "import csv, json, pathlib", _LINES % (_ROWS % "excel")),
    (".tsv", rb"\A[^\t]+\t", "import csv, json, pathlib", _LINES % (_ROWS % "excel-tab")),
    (".md", rb"", "import json, pathlib", _LINES % _TEXT),
    (".txt", rb"", "import json, pathlib", _LINES % _TEXT),
)
"""What makes one file of several in a folder: their ending, what to find in the first lines, some of it in all of them,
what Python imports, and what it does with `files`.
"""
_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(\[?\s*[^\n]*)")
_LONGEST_LINE = 1 << 16
_STORED = ending_of(format for format in FORMATS if not format.packs)


def choose(path: Path, difficulty: str | None) -> tuple[Path, str | None]:
    """The library at `path`, the file itself or in a folder the one for `difficulty`, and a sentence on that choice.

    `*_<difficulty>_with_workflows.json` comes before `*_<difficulty>.json`; both also as .jsonl, as .ndjson
    and packed (.gz, .zst). After each of them come .db, .sqlite, .sqlite3, .parquet and .pool, and folders in .parts:
    what was converted beside a JSON file does not make its difficulty ambiguous. Raises LibraryError if no file or
    more than one of the same rank matches.
    """
    try:
        if not path.is_dir():
            return path, None
        names = sorted(entry.name for entry in path.iterdir() if _may_be_one(entry))
    except OSError as error:
        raise LibraryError(
            f"the folder cannot be read: {error.strerror}",
            where=str(path),
            hint="give the library's file itself",
        ) from error
    except ValueError as error:  # a NUL in the path
        raise LibraryError(f"no usable path: {error}", where=repr(str(path)), hint="give the path of a file") from error
    if difficulty is None:
        found = _libraries(path)
        if len(found) == 1:
            return found[0], f"took {found[0].relative_to(path)}, the only library in this folder"
        raise LibraryError("this is a folder", where=str(path), hint=_offer(path, names))
    for full in ("_with_workflows", ""):
        matches = _without_longer(names, f"_{difficulty}{full}")
        matches = [name for name in matches if _JSON.search(name)] or matches
        if len(matches) > 1:
            raise LibraryError(
                f"{len(matches)} files are for difficulty {difficulty!r}: {', '.join(matches[:10])}",
                where=str(path),
                hint="give the file itself in place of the folder",
            )
        if matches:
            without = "" if full else ", as no file has workflows"
            return path / matches[0], f"took {matches[0]} for difficulty {difficulty!r}{without}"
    raise LibraryError(f"no file here is for difficulty {difficulty!r}", where=str(path), hint=_offer(path, names))


def _without_longer(names: list[str], ending: str) -> list[str]:
    """The names that end so, without those of a longer difficulty.

    `tasks_very_easy` ends in `_easy` too; beside a `tasks_easy` it is not meant.
    """
    prefix = {name: stem.removesuffix(ending) for name in names if (stem := _stem(name)).endswith(ending)}
    return [name for name, mine in prefix.items() if not any(mine.startswith(f"{other}_") for other in prefix.values())]


def _may_be_one(entry: Path) -> bool:
    """Whether something in a folder may be a library: of the names that end in one, .parts are of folders alone."""
    return _STORED.search(entry.name) is None or entry.is_dir() == PARTS.fits(entry.name)


def _stem(name: str) -> str:
    """The name without its ending; nothing for a file whose name is not that of a library."""
    stem = _STORED.sub("", _JSON.sub("", name))
    return "" if stem == name or name in _OF_DATASETS else stem


def _joined(folder: Path) -> str:
    """How to make one file of a folder of parts, or of one with nothing but text; nothing where no command does."""
    below, libraries = files_below(folder), _libraries(folder)
    count = Counter(file.suffix for file in below)
    for ending, common, imports, write in sorted(_ONE_OF, key=lambda row: -count[row[0]]):
        is_text = _TEXT in write
        # else they are of different kinds
        one_kind = not libraries if is_text else count[ending] >= len(libraries)
        if one_kind and count[ending] > (ending != ".arrow") and _have_in_common(below, ending, common):
            files = f"root = pathlib.Path({str(folder)!r}); files = sorted(root.rglob('*{ending}'))"
            lines = f"find {quoted(folder)} -name '*.jsonl' -print0 | sort -z | xargs -0 cat > tasks.jsonl"
            command = python(f"{imports}; {files}; {write}") if write else lines
            return f"make {f'a task of each {ending}' if is_text else 'one of all'}: {command}"
    return ""


def _have_in_common(below: Sequence[Path], ending: str, pattern: bytes) -> bool:
    """Whether something that a pattern finds in the first line is the same in all files that end so."""
    firsts = (_LINE.findall(head_of(file, _LONGEST_LINE))[0] for file in below if file.suffix == ending)
    return bool(set.intersection(*({*re.findall(pattern, first)} for first in firsts)))


def _libraries(folder: Path) -> list[Path]:
    """The files in a folder and in those below that are called as libraries are."""
    return [file for file in files_below(folder) if _stem(file.name) or OTHER.search(file.name)]


def _offer(folder: Path, names: list[str]) -> str:
    """What could be given instead, as far as the names tell."""
    stems = [_stem(name).removesuffix("_with_workflows") for name in names]
    # tasks_very_easy: what most names share is the name, the rest is the difficulty
    cuts = [[(stem[:cut], stem[cut + 1 :]) for cut, c in enumerate(stem) if c == "_"] for stem in stems]
    shared = Counter(name for each in cuts for name, _ in each)
    best = [max(each, key=lambda cut: (shared[cut[0]], len(cut[0]))) for each in cuts if each]
    found = {difficulty for name, difficulty in best if shared[name] > 1}
    joined, libraries = _joined(folder), ", ".join(map(str, _libraries(folder)[:10]))
    given = f"give one of its files{'' if joined else f': {libraries}'}" if libraries else _NONE
    if not all(map(str.isdecimal, found)):  # or there are none; numbers are of parts
        given = f"give ‹difficulty›, one of: {', '.join(sorted(found)[:20])}; or the library's file"
    return f"{given}, or {joined}" if joined else given
