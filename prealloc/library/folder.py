"""Which file of a folder holds the tasks of a difficulty."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.library.disk import files_below
from prealloc.library.formats import PARTS, format_named
from prealloc.library.text.kinds import offer, stem
from prealloc.model.words import listed

_NONE = "give the library's file; this folder has none (.json, .jsonl, .csv, .parquet, ...)"
_ABOUT = re.compile("readme|licen[cs]e|contributing|changelog", re.IGNORECASE)
_LEVELS = re.compile("level|tier|difficulty", re.IGNORECASE)


def choose(path: Path, difficulty: str | None) -> tuple[Path, str | None]:
    """The library at `path`, the file itself or in a folder the one for `difficulty`, and a sentence on that choice.

    `*_<difficulty>_with_workflows.json` comes before `*_<difficulty>.json`; both also as .jsonl, as .ndjson
    and packed (.gz, .zst). After each of them come .db, .sqlite, .sqlite3, .parquet and .pool, and folders in .parts:
    what was converted beside a JSON file does not make its difficulty ambiguous. Raises LibraryError if no file or
    more than one of the same rank matches.
    """
    if not os.path.isdir(path):
        return path, None
    try:
        names = sorted(each.name for each in path.iterdir() if each.is_dir() == (format_named(each.name) is PARTS))
    except OSError as error:
        problem = f"the folder cannot be read: {error.strerror}"
        raise LibraryError(problem, where=str(path), hint="give the library's file itself") from error
    if difficulty is None:
        found = libraries_below(path)
        if len(found) == 1:
            return found[0], f"took {found[0].relative_to(path)}, the only library in this folder"
        several = f"with {len(found):,} files that may be libraries" if found else "without a library"
        raise LibraryError(f"this is a folder {several}", where=str(path), hint=_offer(path, names))
    for full in ("_with_workflows", ""):
        matches = _without_longer(names, f"_{difficulty}{full}")
        matches = [name for name in matches if (said := format_named(name)) and said.packs] or matches
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
    prefix = {name: short.removesuffix(ending) for name in names if (short := stem(name)).endswith(ending)}
    return [name for name, mine in prefix.items() if not any(mine.startswith(f"{other}_") for other in prefix.values())]


def libraries_below(folder: Path) -> list[Path]:
    """The files in a folder and in those below that are called as libraries are."""
    return [file for file in files_below(folder) if stem(file.name)]


def _offer(folder: Path, names: list[str]) -> str:
    """What could be given instead."""
    stems = {stem(name).removesuffix("_with_workflows") for name in names}
    # tasks_very_easy: what most names share is the name, the rest is the difficulty
    cuts = [[(stem[:cut], stem[cut + 1 :]) for cut, c in enumerate(stem) if c == "_"] for stem in stems]
    shared = Counter(name for each in cuts for name, _ in each)
    best = [max(each, key=lambda cut: (shared[cut[0]], len(cut[0]))) for each in cuts if each]
    found = {difficulty for name, difficulty in best if shared[name] > 1}
    below, libraries = files_below(folder), libraries_below(folder)
    patterns, files = offer(folder, libraries)
    if 3 not in files.values():
        patterns, _ = offer(folder, [file for file in below if not _ABOUT.match(file.name)])
        patterns = patterns or offer(folder, below)[0]
    given = f"give one of its files: {listed(map(str, files))}" if libraries else _NONE
    # Or there are no difficulties. Numbers are of parts, mostly.
    if not all(map(str.isdecimal, found)) or (found and any(map(_LEVELS.search, names))):
        given += f"; or ‹difficulty›, one of: {', '.join(sorted(found)[:20])}"
    inside = Counter(file.relative_to(folder).parts[0] for file in libraries if file.parent != folder)
    for name, count in inside.most_common(1):
        given += f", or the folder {folder / name}" if len(libraries) < 2 * count < 2 * len(libraries) else ""
    return f"{given}, or all of a kind: {' or '.join(patterns)}" if patterns else given
