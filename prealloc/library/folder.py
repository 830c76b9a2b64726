"""Which file of a folder holds the tasks of a difficulty."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.library.disk import files_below, head_of
from prealloc.library.formats import FORMATS, PARTS, ending_of
from prealloc.library.text.refuse import python, unused
from prealloc.library.text.sources import OTHER
from prealloc.library.text.table import LONGEST_CELL
from prealloc.model.words import quoted

_JSON = ending_of(format for format in FORMATS if format.packs)
_OF_DATASETS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
# What the package `datasets` says of a library, in files beside it.

_NONE = "give the library's file; this folder has none (.json, .jsonl, .csv, .parquet, ...)"
_ARROW = "import pyarrow; from pyarrow import ipc, parquet"
_ONE_TABLE = f"{_ARROW}; parquet.write_table(pyarrow.concat_tables([%s for f in files]), {{out!r}})"
_LINES = "out = open({out!r}, 'w'); [print(json.dumps(task), file=out) for f in files for task in %s]"
_ROWS = "csv.DictReader(open(f, encoding='utf-8-sig', newline=str()), dialect='%s')"
_TABLE = f"csv.field_size_limit({LONGEST_CELL}); {_LINES}"
_TEXT = "[{{'id': str(f.relative_to(root)), 'text': f.read_text(errors='replace')}}]"
_ONE_OF = (
    (".parquet", rb"", _ONE_TABLE % "parquet.read_table(f, partitioning=None)"),
    (".arrow", rb"", _ONE_TABLE % "ipc.open_stream(open(f, 'rb')).read_all()"),
    (".json", rb"\A\[\s*(\{)", _LINES % "json.loads(f.read_bytes())"),
    (".jsonl", rb'"([^"\\]*)"[ \t]*:', ""),
    (".csv", rb"\A[^,]+,", _TABLE % (_ROWS % "excel")),
    (".tsv", rb"\A[^\t]+\t", _TABLE % (_ROWS % "excel-tab")),
    (".md", rb"", _LINES % _TEXT),
    (".txt", rb"", _LINES % _TEXT),
)
"""What makes one file of several in a folder: their ending, what their first lines share, what to do with `files`."""
_MADE = {".parquet": ".parquet", ".arrow": ".parquet"}
_LEVELS = re.compile("level|tier|difficulty", re.IGNORECASE)
_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(\[?\s*[^\n]*)")
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
        problem = f"the folder cannot be read: {error.strerror}"
        raise LibraryError(problem, where=str(path), hint="give the library's file itself") from error
    except ValueError as error:  # a NUL in the path
        raise LibraryError(f"no usable path: {error}", where=repr(str(path)), hint="give the path of a file") from error
    if difficulty is None:
        found = _libraries(path)
        if len(found) == 1:
            return found[0], f"took {found[0].relative_to(path)}, the only library in this folder"
        several = f"with {len(found):,} files that may be libraries" if found else "without a library"
        raise LibraryError(f"this is a folder {several}", where=str(path), hint=_offer(path, names))
    for full in ("_with_workflows", ""):
        matches = _without_longer(names, f"_{difficulty}{full}")
        matches = [name for name in matches if _JSON.search(name)] or matches
        if len(matches) > 1:
            problem = f"{len(matches)} files are for difficulty {difficulty!r}: {', '.join(matches[:10])}"
            raise LibraryError(problem, where=str(path), hint="give the file itself in place of the folder")
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
    for ending, shared, write in _ONE_OF:
        found, is_text = [file for file in below if file.suffix == ending], _TEXT in write
        one_kind = not libraries if is_text else len(found) >= len(libraries)
        firsts = ({*re.findall(shared, _LINE.findall(head_of(file, 1 << 16))[0])} for file in found)
        if one_kind and len(found) > (ending != ".arrow") and set.intersection(*firsts):
            root, out = f"root = pathlib.Path({str(folder)!r})", unused(f"tasks{_MADE.get(ending, '.jsonl')}")
            files = f"files = [root / f for f in sorted(glob.glob('**/*{ending}', root_dir=root, recursive=True))]"
            visible = f"-name '.*' -prune -o -name '*.jsonl' ! -name {out}"
            lines = f"find {quoted(folder)} -mindepth 1 {visible} -print0 | sort -z | xargs -0 cat > {out}"
            code = f"import csv, glob, json, pathlib; {root}; {files}; {write.format(out=out)}"
            command = python(code) if write else lines
            return f"make {f'a task of each {ending}' if is_text else 'one of all'}: {command}"
    return ""


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
    # Or there are none. Numbers are of parts, mostly.
    if not all(map(str.isdecimal, found)) or (found and any(map(_LEVELS.search, names))):
        given = f"give ‹difficulty›, one of: {', '.join(sorted(found)[:20])}; or the library's file"
    return f"{given}, or {joined}" if joined else given
