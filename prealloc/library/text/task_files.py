"""Files that are a task each: what one holds, what is refused of a folder, and the patterns that find its tasks."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import Progress, files_of_pattern, read_file
from prealloc.library.folder import libraries_below, patterns, stem
from prealloc.library.naming import Names
from prealloc.library.rows import FIELDS, NULL, field_of
from prealloc.library.text.cursor import Damage
from prealloc.library.text.markup import MARKUP, json_of
from prealloc.library.text.refuse import HEAD, text_lines
from prealloc.library.text.sources import Proof, Source, file_source
from prealloc.library.text.window import Window
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import shown, word

FILE = "file"
"""The field with the name of a task's file, where somebody asks for it and the task has none."""
_LISTS_OF_TASKS = re.compile(
    "cases|data|dialog(ue)?s|entries|evals?(_cases)?|examples|instances|items|problems|prompts|questions|records|rows|"
    "samples|scenarios|tests?(_cases)?|tasks",
    re.IGNORECASE,
)

Task = dict[str, Raw]

_OBJECT = (".json", *MARKUP)
_TASKS = re.compile(rb'\[|\{\s*"(\\.|[^"\\])*"\s*:\s*\{')
_LIBRARY = re.compile(rb'\{\s*"tasks"\s*:\s*(?:%b)' % _TASKS.pattern)
_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
"""What holds many tasks: JSON files beside it say something of them."""


def in_folder(folder: Path) -> list[Path]:
    """The files in a folder and in those below that may be a task each.

    Where the highest files are all called alike, as in a folder per task, only files of that name count.
    """
    found = libraries_below(folder)
    files = [file for file in found if file.suffix.lower() in _OBJECT]
    highest = min((len(file.parts) for file in files), default=0)
    names = [file.name for file in files if len(file.parts) == highest]
    if len(names) > 1 == len(set(names)):
        return [file for file in files if file.name == names[0]]
    has_data = any(file.suffix.lower() in _DATA for file in found)
    return [] if has_data or len(files) == 1 < len(found) else files


def has_id(task: Task) -> bool:
    """Whether it is a task for sure: of others a list may hold the tasks."""
    return not {*ID_SPELLINGS}.isdisjoint(task)


def main_list(task: Task) -> str | None:
    """The field that is the longest list of objects in a task."""
    lists = {name: len(memoryview(raw)) for name, raw in task.items() if re.match(rb"\[\s*\{", raw)}
    return max(lists, key=lists.__getitem__, default=None)


def first_task(file: Path) -> Task:
    """The fields of the object that a file holds, or its text; none if it is anything else, or itself a library."""
    if _is_text(file):
        return {"text": NULL}
    if name_parts(file.name).ending not in _OBJECT:
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


def _is_text(file: Path) -> bool:
    """Whether a file is not called as a library is, nor as an object."""
    return name_parts(file.name).ending not in _OBJECT and not stem(file.name)


def names_of(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths, without endings or with."""
    whole = [Path(readable_name(str(file.relative_to(folder)))) for file in files]
    paths = [path.with_suffix("") for path in whole]
    tries = ([path.name for path in paths], [path.parent.name for path in paths], [*map(Path.as_posix, paths)])
    several = (names for names in tries if len(set(names)) == len(names) and all(names))
    return next(several, [*map(Path.as_posix, whole)])


def one_each(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str], *, checked: bool) -> Source:
    """The task in each file; if it is `checked`, files that are not all tasks are refused."""

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        tasks = []
        for count, file in enumerate(files, 1):
            content = read_file(file)
            proof.begin(str(file.relative_to(folder)), len(content))
            proof(content)
            tasks.append(_task(file, content, folder, files))
            if progress:
                progress(proof.size, proof.size * len(files) // count)  # about as many bytes in the others
        common = Names(COMMON, tasks[0], str(folder))
        common.take(len(tasks), partial(field_of, tasks), list)
        best = common.best()[0]
        if checked:
            _refuse_other_kinds(folder, files, tasks, common)
            if best is None and asked.id_field is None and asked.id_from is None:
                _refuse_lists(folder, files, tasks)
        added = [FILE] if FILE in {asked.id_field, asked.type_field, *keep} else []
        added += ["id"] if best in (None, *common.late) else []
        names = names_of(folder, files) if added else [""] * len(files)
        for name, task in zip(names, tasks, strict=True):
            more = dict.fromkeys(added, Raw(msgspec.json.encode(name)))
            yield msgspec.json.encode(more | task) + b"\n"

    return Source(folder, str(folder), read, "lines", file_of=files.__getitem__)


def _task(file: Path, content: bytes, folder: Path, files: Sequence[Path]) -> Task:
    """The object that a file holds; or its text, if it is not called as a library is. Raises LibraryError."""
    try:
        if _is_text(file):
            return {"text": Raw(msgspec.json.encode("".join(text_lines([content], str(file)))))}
        text, ending = b"".join(unpack_stream(iter([content]), str(file))), name_parts(file.name).ending
        text = json_of([text], ending, str(file)) if ending in MARKUP else text.removeprefix(codecs.BOM_UTF8)
        return FIELDS.decode(compact(text))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except msgspec.DecodeError:
        problem = "the file does not hold an object, and each file is to hold one task"
        alike = [each for each in files if each.name == files[0].name]
        raise _odd_one(problem, file, folder, files, alike if len(alike) > 1 else ()) from None


def _refuse_other_kinds(folder: Path, files: Sequence[Path], tasks: Sequence[Task], common: Names) -> None:
    """Raises LibraryError where not all of the files are tasks.

    Such a file has half or less of the fields that at least half of the files have (or of those in each folder that are
    called as the first); or no id, where most have one that tells them apart.
    """
    of_first = [task for file, task in zip(files, tasks, strict=True) if file.name == files[0].name]
    # Where each folder has two kinds, either is half of all.
    is_kind = 1 < len(of_first) == len({file.parent for file in files})
    odd = _unlike(tasks, tasks) or (_unlike(of_first, tasks) if is_kind else [])
    ids = [column.names for column in common.ids if column.is_called_id and column not in common.late]
    what = "the files have few fields in common, so they are not all tasks"
    for names in ids if not odd and common.best()[0] in (None, *common.late) else ():
        own = [next((bytes(task[name]) for name in names if name in task), None) for task in tasks]
        if 2 * own.count(None) < len(tasks) == len({*own}) + own.count(None) - 1:
            what = f"the file has no {names[0]}, and most others have one"
            odd = [at for at, id in enumerate(own) if id is None]
            break
    if odd:
        problem = f"{what}: this one has {', '.join(tasks[odd[0]])[:80]}"
        others = [files[at] for at in odd]
        libraries = [files[at] for at in odd if main_list(tasks[at]) == "tasks"]
        raise _odd_one(problem, others[0], folder, files, sorted({*files}.difference(others)) or libraries)


def _unlike(kind: Sequence[Task], tasks: Sequence[Task]) -> list[int]:
    """The tasks that have half or less of the fields that at least half of a kind have."""
    count = Counter(key for task in kind for key in task)
    usual = {key for key in count if 2 * count[key] >= len(kind)}
    return [at for at, task in enumerate(tasks) if len(task) and 2 * len(usual & {*task}) <= len(usual)]


def _refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[Task]) -> None:
    """Raises LibraryError where every file has a list with a usual name of task lists, and it is most of the text."""
    name = main_list(tasks[0])
    if name is None or not _LISTS_OF_TASKS.fullmatch(name) or any(main_list(task) != name for task in tasks):
        return
    if 2 * sum(len(bytes(task[name])) for task in tasks) >= sum(len(msgspec.json.encode(task)) for task in tasks):
        items = f"if each item is a task, give ‹tasks_field› {word(name)}, and ‹type_field› {FILE} for a type a file"
        hint = f"{items}\nif each file is a task, give ‹id_from› content"
        many = f"each of the {len(files):,} files holds a list {shown(name)}"
        raise LibraryError(f"{many}: its items may be the tasks, or the files", where=str(folder), hint=hint)


def _odd_one(problem: str, odd: Path, folder: Path, files: Sequence[Path], tasks: Sequence[Path]) -> LibraryError:
    """The error of a file that is not a task, with patterns for those that are, and for those of any other kind."""
    names, others = {file.name for file in tasks}, {file.name[0] for file in {*files}.difference(tasks)}
    inside = glob.escape(os.path.commonpath([file.parent for file in tasks])) if tasks else ""
    shared = glob.escape(os.path.commonprefix([*names]))  # noqa: RUF071  # of letters
    found = list[str]()
    for begin in (shared, "[0-9]", f"[!{''.join(sorted(others))}]") if tasks else ():
        pattern = os.path.join(inside, "**", begin if len(names) == 1 else f"{begin}*{tasks[0].suffix}")
        with contextlib.suppress(LibraryError):
            found += [pattern] if files_of_pattern(Path(pattern)) == tasks else []
    some = patterns(folder, *found[:1])
    hint = f"give those that are tasks by a pattern{some and f', such as {some}'}"
    return LibraryError(problem, where=str(odd), hint=hint)
