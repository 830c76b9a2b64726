"""Of which kind files are, by what they hold: which may be tasks, which are unlike the others, and how to give them."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import bytes_of, files_below, head_of
from prealloc.library.formats import binary_format, format_named
from prealloc.library.rows import FIELDS, NULL
from prealloc.library.text.batches import batches
from prealloc.library.text.cursor import Damage, Window
from prealloc.library.text.document import ROOT
from prealloc.library.text.other_formats import MARKUP, TABLES, json_of
from prealloc.library.text.refuse import HEAD, text_lines
from prealloc.library.text.sources import Proof, file_source
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import listed, quoted

Task = dict[str, Raw]
_OBJECT = (".json", *MARKUP)
"""How the name ends of a file that may be a task."""
_ARROW = (".arrow", ".feather")
_DATA = (".jsonl", ".ndjson", ".parquet", *_ARROW)
"""What holds many tasks: JSON files beside it say something of them."""
_TASKS = re.compile(rb'\[|\{\s*"(\\.|[^"\\])*"\s*:\s*\{')
_LIBRARY = re.compile(rb'\{\s*"tasks"\s*:\s*(?:%b)' % _TASKS.pattern)
_OF_DATASETS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
# What the package `datasets` says of a library, in files beside it.
_NONE = "give the library's file; this folder has none (.json, .jsonl, .csv, .parquet, ...)"
_ABOUT = re.compile("readme|licen[cs]e|contributing|changelog", re.IGNORECASE)
_LEVELS = re.compile("level|tier|difficulty", re.IGNORECASE)
_MOST_SEEN = 1000
"""Files of a folder that are looked into, at most; the others are taken for alike."""


def stem(name: str) -> str:
    """The name without its ending. Returns nothing for a file that is not called as a library is."""
    short, ending, _ = name_parts(name)
    is_known = format_named(name) or ending in (*TABLES, *MARKUP, *_ARROW)
    return short if is_known and name not in _OF_DATASETS else ""


def libraries_below(folder: Path) -> list[Path]:
    """The files in a folder and in those below that are called as libraries are."""
    return [file for file in files_below(folder) if stem(file.name)]


def in_folder(folder: Path) -> list[Path]:
    """The files in a folder and in those below that may be a task each.

    Where files so deep are all called alike, as in a folder per task, and most of those that are not deeper, only
    files of that name count.
    """
    found = libraries_below(folder)
    files = [file for file in found if file.suffix.lower() in _OBJECT]
    depths = [len(file.parts) for file in files]
    for depth in sorted({*depths}):
        names = [file.name for file in files if len(file.parts) == depth]
        if len(names) > 1 == len({*names}) and 2 * len(names) > sum(each <= depth for each in depths):
            return [file for file in files if file.name == names[0]]
    has_data = any(file.suffix.lower() in _DATA for file in found)
    return [] if has_data or len(files) == 1 < len(found) else files


def has_id(task: Task) -> bool:
    """Whether it is a task for sure: of others a list may hold the tasks."""
    return not {*ID_SPELLINGS}.isdisjoint(task)


def first_task(file: Path) -> Task:
    """The fields of the object that a file holds, or its text. Returns none if it is anything else, or a library."""
    if is_text(file):
        return {"text": NULL}
    if name_parts(file.name).ending not in _OBJECT:
        return {}
    source = file_source(file)
    with contextlib.closing(source.read(Proof(), None)) as pieces, contextlib.suppress(Damage, *UNREADABLE):
        window = Window(pieces, source)
        if window.peek() != b"{" or _LIBRARY.match(window.text, window.at):
            return {}  # known by its beginning, mostly: it may be large
        at = window.step()
        if window.peek():
            return {}
        fields = FIELDS.decode(memoryview(window.text)[at : window.at])
        return {} if _TASKS.match(bytes(fields.get("tasks", b""))) else fields
    return {}


def whole_task(file: Path, content: bytes, folder: Path, files: Sequence[Path]) -> Task:
    """The object that a file holds; or its text, if it is not called as a library is. Raises LibraryError."""
    try:
        if is_text(file):
            return {"text": Raw(msgspec.json.encode("".join(text_lines([content], str(file)))))}
        text, ending = b"".join(unpack_stream(iter([content]), str(file))), name_parts(file.name).ending
        text = json_of([text], ending, str(file)) if ending in MARKUP else text.removeprefix(codecs.BOM_UTF8)
        return FIELDS.decode(compact(text))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except msgspec.DecodeError:
        problem = "the file does not hold an object, and each file is to hold one task"
        raise LibraryError(problem, where=str(file), hint=how_to_give(folder, files)) from None


def is_text(file: Path) -> bool:
    """Whether a file is called neither as a library is, nor as an object."""
    return name_parts(file.name).ending not in _OBJECT and not stem(file.name)


def unlike(kind: Sequence[Collection[str]], tasks: Sequence[Collection[str]]) -> list[int]:
    """The tasks that have half or less of the fields that at least half of a kind have.

    A task that has no other field than some task of the kind has is not among them.
    """
    count = Counter(key for task in kind for key in task)
    usual = {key for key in count if 2 * count[key] >= len(kind)}
    odd = [at for at, task in enumerate(tasks) if len(task) and 2 * len(usual & {*task}) <= len(usual)]
    others = {frozenset(task) for task in tasks}.difference(frozenset(tasks[at]) for at in odd)
    return [at for at in odd if not any({*tasks[at]} <= other for other in others)]


def items_in(task: Task) -> tuple[str, float, Task] | None:
    """What may be tasks in an object: its longest list of objects, or its values if they are objects of one kind.

    Gives their place, their part of its text, and the first.
    """
    lists = {name: len(memoryview(raw)) for name, raw in task.items() if re.match(rb"\[\s*\{", raw)}
    if name := max(lists, key=lists.__getitem__, default=None):
        first = msgspec.json.decode(task[name], type=list[Raw])[0]
        return name, lists[name] / len(msgspec.json.encode(task)), FIELDS.decode(first)
    are_objects = len(task) > 1 and all(raw[:1] == b"{" for raw in map(bytes, task.values()))
    values = [FIELDS.decode(raw) for raw in task.values()] if are_objects else []
    return (ROOT, 1.0, values[0]) if values and not unlike(values, values) else None


def how_to_give(folder: Path, files: Sequence[Path], odd: Sequence[Path] = ()) -> str:
    """How to give the files that are tasks, without the odd ones, unless half of them are odd."""
    alike = [file for file in files if file not in odd]
    patterns, ranks = _patterns(folder, alike if 2 * len(odd) < len(files) else files)
    patterns = patterns or _patterns(folder, alike)[0]
    if not patterns and (hold := [quoted(file) for file, rank in ranks.items() if rank > 1]):
        return f"give a file that holds tasks, such as {' or '.join(hold[:5])}"
    patterns = patterns or [quoted(Path(glob.escape(str(folder)), "**", f"*{files[0].suffix}"))]
    return f"give those that are tasks by a pattern, such as {' or '.join(patterns)}"


def offer(folder: Path, names: list[str]) -> str:
    """What could be given instead of a folder, in which these names are."""
    stems = {stem(name).removesuffix("_with_workflows") for name in names}
    # tasks_very_easy: what most names share is the name, the rest is the difficulty
    cuts = [[(stem[:cut], stem[cut + 1 :]) for cut, c in enumerate(stem) if c == "_"] for stem in stems]
    shared = Counter(name for each in cuts for name, _ in each)
    best = [max(each, key=lambda cut: (shared[cut[0]], len(cut[0]))) for each in cuts if each]
    found = {difficulty for name, difficulty in best if shared[name] > 1}
    below, libraries = files_below(folder), libraries_below(folder)
    patterns, files = _patterns(folder, libraries)
    if 3 not in files.values():
        patterns, _ = _patterns(folder, [file for file in below if not _ABOUT.match(file.name)])
        patterns = patterns or _patterns(folder, below)[0]
    given = f"give one of its files: {listed(map(str, files))}" if libraries else _NONE
    # Or there are no difficulties. Numbers are of parts, mostly.
    if not all(map(str.isdecimal, found)) or (found and any(map(_LEVELS.search, names))):
        given += f"; or ‹difficulty›, one of: {', '.join(sorted(found)[:20])}"
    inside = Counter(file.relative_to(folder).parts[0] for file in libraries if file.parent != folder)
    for name, count in inside.most_common(1):
        given += f", or the folder {folder / name}" if len(libraries) < 2 * count < 2 * len(libraries) else ""
    return f"{given}, or all of a kind: {' or '.join(patterns)}" if patterns else given


def _patterns(folder: Path, files: Sequence[Path]) -> tuple[list[str], dict[Path, int]]:
    """Patterns that find these files; and each file, with whether it holds tasks (3), or may (2); the best first.

    A pattern finds several of them, all of one kind, and nothing else. First come those of names with "task", then of
    names that are alike but for numbers and half of all, then those that do not look into folders, then those of lists
    of tasks, then those of most files. Each finds some file of the highest folder: below it may be results.
    """
    held, found = dict[Path, tuple[int, frozenset[str]]](), dict[tuple[Path, ...], Any]()
    for file in files:
        held[file] = _held(file) if len(held) < _MOST_SEEN else (held[files[0]][0], frozenset())
    known = {file: names for file, (rank, names) in held.items() if rank}
    for some, pattern in _candidates(known, files_below(folder)):
        if len(some) < 2 or not {*some} <= {*known}:
            continue
        kind, ranks = [known[file] for file in some], [held[file][0] for file in some]
        is_object = ranks[0] < 3
        highest = min(len(file.parts) for file in known if is_object or held[file][0] == 3)
        if (3 if is_object else 1) in ranks or unlike(kind, kind) or highest < min(len(file.parts) for file in some):
            continue
        same = sum(file.suffix == some[0].suffix for file in known)
        is_alike = len({*map(_without_numbers, some)}) == 1 and 2 * len(some) >= same
        key = ("task" not in pattern.name, not is_alike, "**" in pattern.parts, is_object, -len(some))
        found.setdefault(some, (*key, -sum(map(bytes_of, some)), quoted(pattern)))
    ranked = sorted(files, key=lambda file: (-held[file][0], len(file.parts), file))
    return [pattern for *_, pattern in sorted(found.values())[:5]], {file: held[file][0] for file in ranked}


def _held(file: Path) -> tuple[int, frozenset[str]]:
    """What a file holds, and the fields of its first task, as far as they are known.

    3: tasks. 2: an object, most of which may be tasks. 1: another object, or a text. 0: anything else.
    """
    with contextlib.suppress(LibraryError):
        if task := first_task(file):
            items = None if has_id(task) else items_in(task)
            is_binary = is_text(file) and re.search(rb"[\0-\x08\x0e-\x1f]", head_of(file, HEAD))
            return (2, frozenset(items[2])) if items and 2 * items[1] >= 1 else (0 if is_binary else 1, frozenset(task))
        if binary_format(head_of(file)) or file.suffix in _ARROW:  # to look into it may take long
            return 3, frozenset()
        with contextlib.closing(batches(file_source(file), lambda first: Task, Proof())) as found:
            return 3, next((frozenset(batch.rows[0]) for batch in found if batch.rows), frozenset())
    return 0, frozenset()


def _candidates(files: Mapping[Path, Any], below: Sequence[Path]) -> Iterator[tuple[tuple[Path, ...], Path]]:
    """Patterns that may find files of one kind, with what each finds."""
    for ending in {file.suffix for file in files} - {""}:
        every, there = ([file for file in each if file.suffix == ending] for each in (files, below))
        odd = unlike([files[file] for file in every], [files[file] for file in every])
        alike = [file for at, file in enumerate(every) if at not in odd] or every
        letters = {file.name[0] for file in {*there}.difference(alike)}.difference(file.name[0] for file in alike)
        shared = os.path.commonprefix([file.name for file in alike]).removesuffix(ending)  # noqa: RUF071  # of letters
        names = [name for name, _ in Counter(map(_without_numbers, every)).most_common(5)]
        inside = Path(os.path.commonpath([file.parent for file in alike]))
        for name in (*names, f"{glob.escape(shared)}*{ending}", f"[!{''.join(sorted(letters))}]*{ending}"):
            found = [file for file in there if fnmatchcase(file.name, name) and inside in file.parents]
            yield tuple(file for file in found if file.parent == inside), Path(glob.escape(str(inside)), name)
            yield tuple(found), Path(glob.escape(str(inside)), "**", name)


def _without_numbers(file: Path) -> str:
    return re.sub(r"\d+(-of-\d+)?", "[0-9]*", glob.escape(file.name))
