"""Whether files are tasks, one each: what is refused of a folder, and the patterns that find its tasks."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.disk import files_of_pattern
from prealloc.library.folder import patterns
from prealloc.library.naming import Names
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


def has_id(task: Task) -> bool:
    """Whether it is a task for sure: of others a list may hold the tasks."""
    return not {*ID_SPELLINGS}.isdisjoint(task)


def main_list(task: Task) -> str | None:
    """The field that is the longest list of objects in a task."""
    lists = {name: len(memoryview(raw)) for name, raw in task.items() if re.match(rb"\[\s*\{", raw)}
    return max(lists, key=lists.__getitem__, default=None)


def list_told(first: Task) -> str:
    """What to say of a list in the first task: its items may be what was meant."""
    held = main_list(first)
    return "" if held is None else f"; the first has a list {shown(held)}"


def refuse_other_kinds(folder: Path, files: Sequence[Path], tasks: Sequence[Task], common: Names) -> None:
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
        hint = _by_pattern(folder, sorted({*files}.difference(others)) or libraries, others)
        raise LibraryError(problem, where=str(others[0]), hint=hint)


def _unlike(kind: Sequence[Task], tasks: Sequence[Task]) -> list[int]:
    """The tasks that have half or less of the fields that at least half of a kind have."""
    count = Counter(key for task in kind for key in task)
    usual = {key for key in count if 2 * count[key] >= len(kind)}
    return [at for at, task in enumerate(tasks) if len(task) and 2 * len(usual & {*task}) <= len(usual)]


def refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[Task]) -> None:
    """Raises LibraryError where every file has a list with a usual name of task lists, and it is most of the text."""
    name = main_list(tasks[0])
    if name is None or not _LISTS_OF_TASKS.fullmatch(name) or any(main_list(task) != name for task in tasks):
        return
    if 2 * sum(len(bytes(task[name])) for task in tasks) >= sum(len(msgspec.json.encode(task)) for task in tasks):
        items = f"if each item is a task, give ‹tasks_field› {word(name)}, and ‹type_field› {FILE} for a type a file"
        hint = f"{items}\nif each file is a task, give ‹id_from› content"
        many = f"each of the {len(files):,} files holds a list {shown(name)}"
        raise LibraryError(f"{many}: its items may be the tasks, or the files", where=str(folder), hint=hint)


def not_an_object(folder: Path, files: Sequence[Path], file: Path) -> LibraryError:
    """The error of a file among tasks that holds something else."""
    problem = "the file does not hold an object, and each file is to hold one task"
    alike = [each for each in files if each.name == files[0].name]
    return LibraryError(problem, where=str(file), hint=_by_pattern(folder, alike if len(alike) > 1 else ()))


def _by_pattern(folder: Path, tasks: Sequence[Path], odd: Sequence[Path] = ()) -> str:
    """How to give the files that are tasks, and not the odd ones, or those of any other kind."""
    names, others = {file.name for file in tasks}, {file.name[0] for file in odd}
    inside = glob.escape(os.path.commonpath([file.parent for file in tasks])) if tasks else ""
    shared = glob.escape(os.path.commonprefix([*names]))  # noqa: RUF071  # of letters
    found = list[str]()
    for begin in (shared, "[0-9]", f"[!{''.join(sorted(others))}]") if tasks else ():
        pattern = os.path.join(inside, "**", begin if len(names) == 1 else f"{begin}*{tasks[0].suffix}")
        with contextlib.suppress(LibraryError):
            found += [pattern] if files_of_pattern(Path(pattern)) == tasks else []
    some = patterns(folder, *found[:1])
    return f"give those that are tasks by a pattern{some and f', such as {some}'}"
