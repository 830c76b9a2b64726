"""From a path to a library that is open: which file of a folder, which format, and the quickest way into it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.paths import index_places, is_pattern
from prealloc.library.base import Library
from prealloc.library.disk import Notes, Progress, bytes_of, head_of
from prealloc.library.formats import PARTS, format_named
from prealloc.library.naming import needed
from prealloc.library.rows import checked_keep
from prealloc.library.text.files import of_files, within
from prealloc.library.text.kinds import libraries_below, offer, stem
from prealloc.library.text.library import Shortlist, TextLibrary
from prealloc.library.text.sources import STDIN, Source, file_source, python_source
from prealloc.library.unpack import packing
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import quoted, word

MOST_HELD = 1 << 30
"""A file of more bytes is indexed, and not held, where any of its tasks may be asked for."""


def read_library(
    library: Any,
    *,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    fields: Fields = COMMON,
    progress: Progress | None = None,
    notes: Notes | None = None,
    shortlist: Callable[[], Shortlist | None] | None = None,
    stream: bool = False,
) -> Library:
    """Opens a task library, by its path or as it is in Python: who its tasks are, and any of them on demand.

    docs/reference/libraries.md lists what is a library. `fields` says where the ids, types and workflows of its tasks
    are; without it, common names are tried.

    In a folder, `difficulty` picks `*_<difficulty>_with_workflows.json`, then `*_<difficulty>.json`, of several
    formats the JSON. `keep` names further fields of the tasks to take along. `progress` is called with (bytes read,
    bytes in all), `notes` with sentences that a user should see. With a `shortlist` only the tasks that it wants are
    held (all, if it gives None), and then `-` is standard input. Without one, a large file is indexed in memory. A file
    with an index that fits is not read at all, unless `stream` says so.

    Raises LibraryError, with file, place and hint, for whatever is not a task library (duplicate ids and keys,
    bad UTF-8, truncation, ...). The inside of a workflow is checked when its task is asked for.
    Raises OptionsError if `keep` names a field that every task has anyway.
    """
    keep, notes = checked_keep(keep), notes or (lambda note: None)
    text = _find(library, difficulty, fields, keep)
    path, opened = Path(text.path), None
    if text.format is not None:
        opened = text.format.open(path, keep=keep, fields=fields)
    elif not (text.once or text.made):
        opened = None if stream else _by_index(path, keep, fields, notes)
        if not (opened or shortlist) and bytes_of(path) > MOST_HELD and packing(head_of(path, 4)) is None:
            from prealloc.library.packed.index import index_in_memory

            opened = index_in_memory(path, keep=keep, fields=fields, progress=progress)
    elif text.path == STDIN.path and shortlist is None:
        hint = "save it to a file, and give that"
        raise LibraryError("standard input can be read only once, for one plan", where="-", hint=hint)
    if opened is None:
        opened = TextLibrary(text, shortlist or (lambda: None), keep=keep, fields=fields, progress=progress)
    opened.took = "; ".join(text.took) or None
    opened.info = msgspec.structs.replace(opened.info, difficulty=difficulty)
    for note in filter(None, (opened.took, opened.note)):
        notes(note)
    return opened


def _find(library: Any, difficulty: str | None, fields: Fields, keep: tuple[str, ...]) -> Source:
    """Where a library is. Raises LibraryError."""
    if not isinstance(library, str | os.PathLike):
        source = python_source(library, needed(fields, keep))
    elif str(library) == "-":
        source = STDIN
    else:
        path = Path(library)
        _refuse_address(str(library))
        is_folder = os.path.isdir(path) and not is_parts(path)
        if is_pattern(path) or (is_folder and difficulty is None):
            files = of_files(path, fields, keep)
            if files is not None:
                return files
        file, took = _choose(path, difficulty) if is_folder else (path, [])
        source = file_source(file, fields=fields, keep=keep)._replace(took=took)
    return within(source, fields.tasks_field)


def _choose(path: Path, difficulty: str | None) -> tuple[Path, list[str]]:
    """The library for `difficulty` in a folder, see `read_library`, or the only one; and a sentence on that choice.

    JSON may be packed, and comes before what was converted beside it: a database, a pool, a folder of parts, ...
    Raises LibraryError if no file or more than one of the same rank matches.
    """
    names = sorted(glob.glob("*", root_dir=path))
    names = [name for name in names if (path / name).is_dir() == (format_named(name) is PARTS)]
    if difficulty is None:
        found = libraries_below(path)
        if len(found) == 1:
            return found[0], [f"took {found[0].relative_to(path)}, the only library in this folder"]
        several = f"with {len(found):,} files that may be libraries" if found else "without a library"
        raise LibraryError(f"this is a folder {several}", where=str(path), hint=offer(path, names))
    for full in ("_with_workflows", ""):
        ending = f"_{difficulty}{full}"
        before = {name: short.removesuffix(ending) for name in names if (short := stem(name)).endswith(ending)}
        # tasks_very_easy ends in _easy too; beside a tasks_easy it is not meant
        matches = [name for name in before if not any(before[name].startswith(f"{each}_") for each in before.values())]
        matches = [name for name in matches if (said := format_named(name)) and said.packs] or matches
        if len(matches) > 1:
            problem = f"{len(matches)} files are for difficulty {difficulty!r}: {', '.join(matches[:10])}"
            raise LibraryError(problem, where=str(path), hint="give the file itself in place of the folder")
        if matches:
            without = "" if full else ", as no file has workflows"
            return path / matches[0], [f"took {matches[0]} for difficulty {difficulty!r}{without}"]
    raise LibraryError(f"no file here is for difficulty {difficulty!r}", where=str(path), hint=offer(path, names))


def _refuse_address(path: str) -> None:
    if found := re.match(r"(hf|https?|s3|gs)://?((?:datasets/)?([^/]*/[^/]*)/?(.*))", path):
        path = f"{found[1]}://{found[2]}"  # a Path has made one of two slashes
        given, parts = word(path), " ".join(map(word, filter(None, found.groups()[2:])))
        commands = {
            "hf": f"hf download {parts} --repo-type dataset --local-dir .",
            "s3": f"aws s3 cp {given} .",
            "gs": f"gcloud storage cp {given} .",
        }
        hint = f"fetch it, and give the file: {commands.get(found[1], f'curl -LO {given}')}"
        raise LibraryError("this is an address, and a library is a file here", where=path, hint=hint)


def text_source(library: Any, difficulty: str | None, fields: Fields, keep: tuple[str, ...] = ()) -> Source | None:
    """The text of a library, if it can be read more than once: a file, or files. Returns None for all else."""
    text = _find(library, difficulty, fields, keep)
    return text if text.format is None and not text.once else None


def is_parts(path: str | os.PathLike[str]) -> bool:
    """Whether there is a library of parts: a folder, and yet one library."""
    from prealloc.library.parts import is_ours

    return os.path.isdir(path) and is_ours(Path(path))


def _by_index(file: Path, keep: tuple[str, ...], fields: Fields, notes: Notes) -> Library | None:
    """The library in a file by its index. Returns None if none fits, or if the file cannot be read: reading tells."""
    if not (head_of(file, 1) and any(map(os.path.lexists, index_places(file)))):
        return None
    from prealloc.library.packed.index import TaskIndex, moved_aside

    try:
        index = TaskIndex.open(file, keep=keep, fields=fields)
        if (index.info.fields or COMMON).tasks_field == fields.tasks_field:
            return index
        index.close()
        problem = "it is of another list of tasks"
    except LibraryError as error:
        problem = error.problem
    aside = filter(None, map(moved_aside, index_places(file)))
    named = (f"‹{name}› {word(value)}" for name, value in msgspec.to_builtins(fields).items())
    repair = " && ".join([*aside, " ".join(["prealloc library index", quoted(file), *named])])
    notes(f"the index of {file.name} is not used: {problem}; `{repair}` repairs it")
    return None
