"""Files of one kind: what each holds, by its first task; which are unlike the others; how to give those alike."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import encoding_problem
from prealloc.library.disk import bytes_of, files_below, head_of
from prealloc.library.formats import binary_format, format_named
from prealloc.library.rows import FIELDS
from prealloc.library.text.batches import batches
from prealloc.library.text.cursor import Damage
from prealloc.library.text.document import ROOT
from prealloc.library.text.markup import MARKUP
from prealloc.library.text.refuse import HEAD
from prealloc.library.text.sources import OTHER, Proof, file_source
from prealloc.library.text.window import Window
from prealloc.library.unpack import name_parts
from prealloc.model.document import UNREADABLE
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import quoted

Task = dict[str, Raw]

OBJECT = (".json", *MARKUP)
"""How the name ends of a file that may be a task."""
_TASKS = re.compile(rb'\[|\{\s*"(\\.|[^"\\])*"\s*:\s*\{')
_LIBRARY = re.compile(rb'\{\s*"tasks"\s*:\s*(?:%b)' % _TASKS.pattern)
_OF_DATASETS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
# What the package `datasets` says of a library, in files beside it.
_MOST_SEEN = 1000
"""Files of a folder that are looked into, at most; the others are taken for alike."""


def stem(name: str) -> str:
    """The name without its ending; nothing for a file whose name is not that of a library."""
    short, ending, _ = name_parts(name)
    return short if (format_named(name) or ending in OTHER) and name not in _OF_DATASETS else ""


def is_text(file: Path) -> bool:
    """Whether a file is not called as a library is, nor as an object."""
    return name_parts(file.name).ending not in OBJECT and not stem(file.name)


def has_id(task: Task) -> bool:
    """Whether it is a task for sure: of others a list may hold the tasks."""
    return not {*ID_SPELLINGS}.isdisjoint(task)


def object_in(file: Path) -> Task:
    """The fields of the object that a file holds; none if it is not an object, or itself a library."""
    if name_parts(file.name).ending not in OBJECT:
        return {}
    source = file_source(file)
    with contextlib.closing(source.read(Proof(), None)) as pieces, contextlib.suppress(Damage, *UNREADABLE):
        window = Window(pieces, source)
        window.fill(HEAD)
        at = window.skip_space(len(codecs.BOM_UTF8) if window.text.startswith(codecs.BOM_UTF8) else 0)
        if window.byte(at) != b"{" or _LIBRARY.match(window.text, at) or window.byte(end := window.after(at)):
            return {}  # known by its beginning, mostly: it may be large
        fields = FIELDS.decode(memoryview(window.text)[at:end])
        return {} if _TASKS.match(bytes(fields.get("tasks", b""))) else fields
    return {}


def unlike(kind: Sequence[Task], tasks: Sequence[Task]) -> list[int]:
    """The tasks that have half or less of the fields that at least half of a kind have.

    Not one that has no other field than some task has that is of the kind.
    """
    count = Counter(key for task in kind for key in task)
    usual = {key for key in count if 2 * count[key] >= len(kind)}
    odd = [at for at, task in enumerate(tasks) if len(task) and 2 * len(usual & {*task}) <= len(usual)]
    others = {frozenset(task) for task in tasks}.difference(frozenset(tasks[at]) for at in odd)
    return [at for at in odd if not any({*tasks[at]} <= other for other in others)]


def main_list(task: Task) -> str | None:
    """The field that is the longest list of objects in a task."""
    lists = {name: len(memoryview(raw)) for name, raw in task.items() if re.match(rb"\[\s*\{", raw)}
    return max(lists, key=lists.__getitem__, default=None)


class Items(NamedTuple):
    """What may be tasks in an object."""

    place: str
    part: float
    """How much of its text they are."""
    first: Task


def items_in(task: Task) -> Items | None:
    """The longest list of an object, or its values if they are objects of one kind; None where it has neither."""
    if (name := main_list(task)) is not None:
        first = msgspec.json.decode(task[name], type=list[Raw])[0]
        return Items(name, len(memoryview(task[name])) / len(msgspec.json.encode(task)), FIELDS.decode(first))
    are_objects = len(task) > 1 and all(raw[:1] == b"{" for raw in map(bytes, task.values()))
    values = [FIELDS.decode(raw) for raw in task.values()] if are_objects else []
    return Items(ROOT, 1.0, values[0]) if values and not unlike(values, values) else None


class _Held(NamedTuple):
    """What a file holds."""

    rank: int
    """3: tasks. 2: an object with what may be tasks. 1: another object, or a text. 0: nothing of these."""
    first: Task
    """Its first task, as far as it is known."""
    whole: Task
    """The object that it is."""


def _held(file: Path) -> _Held:
    if is_text(file):
        text = head_of(file, HEAD)
        return _Held(int(b"\0" not in text and encoding_problem(text[:-4]) is None), {}, {})
    with contextlib.suppress(LibraryError):
        if task := object_in(file):
            items = None if has_id(task) else items_in(task)
            return _Held(2, items.first, task) if items and 2 * items.part >= 1 else _Held(1, {}, task)
        if binary_format(head_of(file)):  # to look into it may take long
            return _Held(3, {}, {})
        with contextlib.closing(batches(file_source(file), lambda first: Task, Proof())) as found:
            return _Held(3, next((batch.rows[0] for batch in found if batch.rows), {}), {})
    return _Held(0, {}, {})


class Offer(NamedTuple):
    """How files that are tasks, or hold some, may be given."""

    patterns: list[str]
    """Each finds several of them, all of one kind, and nothing else; the best first."""
    files: list[Path]
    """Those that hold tasks before those that may, and the higher ones first."""
    libraries: list[Path]
    """Those of them that hold tasks, or may."""


def offer(folder: Path, files: Sequence[Path], odd: Sequence[Path] = ()) -> Offer:
    """How to give these files of a folder; no pattern finds what is `odd`, unless half of them are.

    First come patterns of names with "task", then of names that are alike but for numbers and half of all, then those
    that do not look into folders, then those of lists of tasks, then those of most files. None leaves out all files of
    the highest folder: below it may be results.
    """
    seen, below, found = dict[Path, _Held](), files_below(folder), dict[tuple[Path, ...], tuple[Any, str]]()
    for file in files:
        seen[file] = _held(file) if len(seen) < _MOST_SEEN else _Held(seen[files[0]].rank, {}, {})
    odd = odd if 2 * len(odd) < len(files) else ()
    good = {file: held for file, held in seen.items() if file not in odd and held.rank}
    kinds = (
        {file: held.first for file, held in good.items() if held.rank > 1},
        {file: held.whole for file, held in good.items() if held.rank < 3},
    )
    for kind in kinds:
        is_object = kind is kinds[1]
        highest = min((len(file.parts) for file in good if is_object or seen[file].rank == 3), default=0)
        for inside, is_deep, name in _candidates(kind, below):
            there = (file for file in below if inside == file.parent or (is_deep and inside in file.parents))
            some = tuple(file for file in there if fnmatchcase(file.name, name))
            if len(some) < 2 or not {*some} <= {*kind} or highest < min(len(file.parts) for file in some):
                continue
            tasks = [kind[file] for file in some]
            if unlike(tasks, tasks) or is_object == (seen[some[0]].rank == 3):
                continue
            same = [file for file in kind if file.suffix == some[0].suffix]
            is_alike = len({*map(_without_numbers, some)}) == 1 and 2 * len(some) >= len(same)
            rank = ("task" not in name, not is_alike, is_deep, is_object, -len(some), -sum(map(bytes_of, some)))
            pattern = Path(glob.escape(str(inside)), "**" if is_deep else "", name)
            found.setdefault(some, (rank, quoted(pattern)))
    ranked = sorted(files, key=lambda file: (-seen[file].rank, len(file.parts), file))
    patterns = [pattern for _, pattern in sorted(found.values())[:5]]
    return Offer(patterns, ranked, [file for file in ranked if seen[file].rank > 1])


def _candidates(kind: Mapping[Path, Task], below: Sequence[Path]) -> Iterator[tuple[Path, bool, str]]:
    """Patterns that may find files of one kind: a folder, whether those in it are meant too, and how names are."""
    for ending, count in Counter(file.suffix for file in kind).most_common(3):
        every = [file for file in kind if file.suffix == ending]
        odd = unlike([kind[file] for file in every], [kind[file] for file in every])
        names = [name for name, same in Counter(map(_without_numbers, every)).most_common(5) if same > 1]
        for some in (every, [file for at, file in enumerate(every) if at not in odd]) if count > 1 else ():
            letters = {file.name[0] for file in below if file.suffix == ending and file not in some}
            letters -= {file.name[0] for file in some}
            shared = os.path.commonprefix([file.name for file in some]).removesuffix(ending)  # noqa: RUF071  # of letters
            begins = ("*", f"{glob.escape(shared)}*", "[0-9]*", f"[!{''.join(sorted(letters))}]*" if letters else "*")
            inside = Path(os.path.commonpath([file.parent for file in some or every]))
            for name in (*names, *(f"{begin}{ending}" for begin in begins if ending)):
                yield from ((inside, is_deep, name) for is_deep in (False, True))


def _without_numbers(file: Path) -> str:
    return re.sub(r"\d+(-of-\d+)?", "[0-9]*", glob.escape(file.name))
