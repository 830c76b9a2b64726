"""Whether the files of a folder are tasks, one each: what is refused, and how to give those that are."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.library.naming import Names
from prealloc.library.text.alike import Task, has_id, items_in, main_list, offer, unlike
from prealloc.library.text.document import ROOT
from prealloc.model.words import listed, quoted, shown, word

FILE = "file"
"""The field with the name of a task's file, where somebody asks for it and the task has none."""


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
    odd = unlike(tasks, tasks) or (unlike(of_first, tasks) if is_kind else [])
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
        raise LibraryError(problem, where=str(others[0]), hint=how_to_give(folder, files, others))


def refuse_unlike(folder: Path, firsts: Mapping[Path, Task]) -> None:
    """Raises LibraryError where the files that are read one after the other hold tasks of several kinds."""
    files, tasks = [*firsts], [*firsts.values()]
    if odd := unlike(tasks, tasks):
        others = [files[at] for at in odd]
        at = next((each for each in odd if unlike(tasks[:1], tasks[each : each + 1])), odd[0])
        problem = f"its first task has few fields in common with those of the others: {', '.join(tasks[at])[:80]}"
        raise LibraryError(problem, where=str(files[at]), hint=how_to_give(folder, files, others))


def refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[Task], id: str | None) -> None:
    """Raises LibraryError where every file alone would be read as several tasks, and they are most of the text.

    Not where its tasks have an `id`, unless the items of all lists have one too.
    """
    found = [items_in(task) for task in tasks]
    items = [each for each in found if each is not None and (id is None or has_id(each.first))]
    if len(items) < len(tasks) or 2 * sum(each.part for each in items) < len(items):
        return
    places = [*dict.fromkeys(each.place for each in items)]
    hint = f"if each item is a task, give ‹tasks_field› {word(places[0])}, and ‹type_field› {FILE} for a type a file"
    if len(places) > 1:
        hint = f"if each item is a task, give one of the files: {listed(map(str, files))}"
    each = "‹id_from› content" if id is None else f"‹id_field› {word(id)}"
    what = "tasks by their ids" if places == [ROOT] else f"a list {' or '.join(map(shown, places))}"
    many = f"each of the {len(files):,} files holds {what}"
    hint = f"{hint}\nif each file is a task, give {each}"
    raise LibraryError(f"{many}: its items may be the tasks, or the files", where=str(folder), hint=hint)


def not_an_object(folder: Path, files: Sequence[Path], file: Path) -> LibraryError:
    """The error of a file among tasks that holds something else."""
    problem = "the file does not hold an object, and each file is to hold one task"
    return LibraryError(problem, where=str(file), hint=how_to_give(folder, files))


def how_to_give(folder: Path, files: Sequence[Path], odd: Sequence[Path] = ()) -> str:
    """How to give the files that are tasks, and not the odd ones, or those of any kind."""
    found = offer(folder, files, odd)
    patterns = found.patterns or offer(folder, files).patterns
    if not patterns and found.libraries:
        return f"give a file that holds tasks, such as {' or '.join(map(quoted, found.libraries))}"
    patterns = patterns or [quoted(Path(glob.escape(str(folder)), "**", f"*{files[0].suffix}"))]
    return f"give those that are tasks by a pattern, such as {' or '.join(patterns)}"
