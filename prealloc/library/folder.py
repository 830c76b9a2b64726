"""Which file of a folder holds the tasks of a difficulty."""

from __future__ import annotations

from collections import Counter
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
_TABLES = "import pyarrow; from pyarrow import ipc, parquet"
_ONE_TABLE = "parquet.write_table(pyarrow.concat_tables([%s for f in files]), 'tasks.parquet')"
_ONE_OF = (
    (".parquet", _TABLES, _ONE_TABLE % "parquet.read_table(f, partitioning=None)"),
    (".arrow", _TABLES, _ONE_TABLE % "ipc.open_stream(open(f, 'rb')).read_all()"),
    (
        ".json",
        "import json",
        "json.dump([task for f in files for task in json.load(open(f))], open('tasks.json', 'w'))",
    ),
    (".jsonl", "", ""),
)
"""What makes one file of several in a folder: their ending, what Python imports, and what it does with `files`."""
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
    """How to make one file of a folder of parts."""
    libraries = _libraries(folder)
    for ending, imports, write in _ONE_OF:
        found = [*folder.rglob(f"*{ending}")]
        if ending == ".json" and not all(head_of(file).lstrip().startswith(b"[") for file in found):
            continue
        if len(found) > (ending != ".arrow") and len(found) >= len(libraries):  # else they are of different kinds
            files = f"files = sorted(pathlib.Path({str(folder)!r}).rglob('*{ending}'))"
            lines = f"find {quoted(folder)} -name '*.jsonl' -print0 | sort -z | xargs -0 cat > tasks.jsonl"
            command = python(f"import pathlib; {imports}; {files}; {write}") if write else lines
            return f"give one of its files, or make one of all: {command}"
    files = ", ".join(map(str, libraries[:10]))
    return f"give one of its files: {files}" if files else _NONE


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
    if all(map(str.isdecimal, found)):  # or there are none; numbers are of parts
        return _joined(folder)
    return f"give ‹difficulty›, one of: {', '.join(sorted(found)[:20])}; or the library's file"
