"""Many files as one library, as JSON lines: each is a task, with the id of its file if it has none, or holds tasks."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import is_pattern, readable_name, seen_from
from prealloc.library.disk import Progress, bytes_of, changed_meanwhile, files_of_pattern, read_file
from prealloc.library.naming import Column, Names
from prealloc.library.rows import FIELDS
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.document import ROOT
from prealloc.library.text.kinds import Task, first_task, has_id, how_to_give, in_folder, items_in, unlike, whole_task
from prealloc.library.text.refuse import no_document
from prealloc.library.text.sources import Proof, Source, file_source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import listed, shown, word

FILE = "file"
"""The field with the name of a task's file, where somebody asks for it and the task has none."""


def of_files(path: Path, asked: Fields, keep: Sequence[str]) -> Source | None:
    """The files that a pattern finds, or in a folder and below it. Raises LibraryError.

    Each is a task if the first is one. Returns None for a folder of other files, unless `asked` says where their tasks
    are, and for a folder with a document alone.
    """
    by_pattern, has_place = is_pattern(path), asked.tasks_field is not None
    files = files_of_pattern(path) if by_pattern else in_folder(path)
    if by_pattern and not files:
        hint = "check the path: * is any name, ** any folders"
        raise LibraryError("there is no such file", where=str(path), hint=hint)
    first = {} if has_place or not files else first_task(files[0])
    items = items_in(first)
    is_document = len(files) == 1 and items is not None and not has_id(first)
    if not by_pattern and (is_document if first else not has_place or len(files) < 2):
        return None
    folder = Path(os.path.commonpath([file.parent for file in files])) if by_pattern else path
    count = "one file" if len(files) == 1 else f"{'each of ' if first else ''}{len(files):,} files"
    told = f"; the first has a list {shown(items[0])}" if items and items[0] != ROOT else ""
    took = [f"took {count} as a task{told}" if first else f"took the tasks of {count}"]
    read = partial(_each, took=None if by_pattern else took) if first else _all
    source = read(folder, files, asked, keep)
    name = str(seen_from(Path.cwd(), path)) if by_pattern else path
    return source._replace(path=name, where=str(path), took=took)


def within(source: Source, tasks_field: str | None) -> Source:
    """The tasks at a place in a document; at several, a task without a type has the name of its list.

    Raises LibraryError for a library that is not a document.
    """
    if tasks_field is None:
        return source
    if source.made == "lines":
        raise no_document(tasks_field, source.where)
    source = source._replace(tasks_field=tasks_field)

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for batch in batches(source, lambda first: Task, proof, progress):
            yield from _lines(batch, {} if batch.title is None else {"type": batch.title})

    return source._replace(read=read, made="lines", tasks_field=None) if "*" in tasks_field else source


def _all(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str]) -> Source:
    """The tasks of all files, one after the other."""
    names, firsts = _names_of(folder, files), list[int]()
    asks_file = FILE in {asked.id_field, asked.type_field, *keep}

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        total, tasks, begins = sum(map(bytes_of, files)) if progress else 0, 0, dict[Path, list[str]]()
        told = progress and (lambda done, size: progress(proof.size, max(total, proof.size)))
        firsts.clear()
        for file, name in zip(files, names, strict=True):
            firsts.append(tasks)
            before, size = proof.size, bytes_of(file)
            proof.begin(name, size)
            source = within(file_source(file, fields=asked, keep=tuple(keep)), asked.tasks_field)
            for batch in batches(source, lambda first: Task, proof, told):
                if batch.origin.task == 0:
                    begins[file] = [*batch.rows[0]]  # not the text that they are in
                    if batch.title is not None and has_id(first_task(file)):
                        held = shown(batch.title)
                        problem = f"this seems to be a task with the list {held}, and the first file is none"
                        raise LibraryError(problem, where=str(file), hint=how_to_give(folder, files))
                tasks += len(batch.rows)
                yield from _lines(batch, {FILE: name} if asks_file else {})
            if proof.size != before + size:
                raise changed_meanwhile(str(file))
        kinds = [*begins.values()]
        what = "the first tasks of the files have few fields in common, so they are not of one kind"
        _refuse_odd(what, folder, begins, unlike(kinds, kinds))

    return Source(folder, str(folder), read, made="lines", file_of=lambda task: files[bisect_right(firsts, task) - 1])


def _lines(batch: Batch, more: Mapping[str, str]) -> Iterator[bytes]:
    """The tasks of a batch as lines, each with these fields if it has none of their names."""
    added = {name: Raw(msgspec.json.encode(text)) for name, text in more.items()}
    if added:
        batch.refuse_twice()
        yield from (msgspec.json.encode(added | FIELDS.decode(text)) + b"\n" for text in batch.texts)
    elif batch.layout == "objects":
        yield bytes(batch.text) + b"\n"
    else:
        yield from (bytes(text) + b"\n" for text in batch.texts)


def _names_of(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths, without endings or with."""
    whole = [Path(readable_name(str(file.relative_to(folder)))) for file in files]
    paths = [path.with_suffix("") for path in whole]
    tries = ([path.name for path in paths], [path.parent.name for path in paths], [*map(Path.as_posix, paths)])
    several = (names for names in tries if len(set(names)) == len(names) and all(names))
    return next(several, [*map(Path.as_posix, whole)])


def _each(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str], took: list[str] | None) -> Source:
    """The task in each file. With `took`, files that are not tasks are refused, and it gets notes on the others."""

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        tasks = []
        for count, file in enumerate(files, 1):
            content = read_file(file)
            proof.begin(str(file.relative_to(folder)), len(content))
            proof(content)
            tasks.append(whole_task(file, content, folder, files))
            if progress:
                progress(proof.size, proof.size * len(files) // count)  # about as many bytes in the others
        common = Names(COMMON, tasks[0], str(folder))
        common.take(tasks, list)
        best = common.best()[0]
        has_id = best is not None and not best.is_late
        if took is not None:
            _refuse_other_kinds(folder, files, tasks, [] if has_id else common.ids)
            if asked.id_field is None and asked.id_from is None:
                _refuse_lists(folder, files, tasks, None if best is None else best.names[0])
            took[1:] = _lacking(files, tasks)
        added = [FILE] if FILE in {asked.id_field, asked.type_field, *keep} else []
        added += [] if has_id else ["id"]
        names = _names_of(folder, files) if added else [""] * len(files)
        for name, task in zip(names, tasks, strict=True):
            more = dict.fromkeys(added, Raw(msgspec.json.encode(name)))
            yield msgspec.json.encode(more | task) + b"\n"

    return Source(folder, str(folder), read, made="lines", file_of=files.__getitem__)


def _lacking(files: Sequence[Path], tasks: Sequence[Task]) -> list[str]:
    """Sentences on the files that lack a field which all others have, unless there are only a few files."""
    count = Counter(key for task in tasks for key in task)
    usual = {key for key in count if count[key] == len(tasks) - 1 > 2}
    lacking = ((file, sorted(usual.difference(task))) for file, task in zip(files, tasks, strict=True))
    return [f"{file} has no {', '.join(fields)}, which all others have" for file, fields in lacking if fields]


def _refuse_other_kinds(folder: Path, files: Sequence[Path], tasks: Sequence[Task], ids: Sequence[Column]) -> None:
    """Raises LibraryError unless all of the files are tasks.

    Another file has half or less of the fields that at least half of the files have (or of those in each folder that
    are called as the first); or none of the `ids` that most have, and that tell them apart.
    """
    of_first = [task for file, task in zip(files, tasks, strict=True) if file.name == files[0].name]
    # Where each folder has two kinds, either is half of all.
    is_kind = 1 < len(of_first) == len({file.parent for file in files})
    odd = unlike(tasks, tasks) or (unlike(of_first, tasks) if is_kind else [])
    what = "the files have few fields in common, so they are not all tasks"
    for names in [column.names for column in ids if column.is_called_id and not column.is_late and not odd]:
        own = [next((bytes(task[name]) for name in names if name in task), None) for task in tasks]
        if 2 * own.count(None) < len(tasks) == len({*own}) + own.count(None) - 1:
            what = f"the file has no {names[0]}, and most others have one"
            odd = [at for at, id in enumerate(own) if id is None]
            break
    _refuse_odd(what, folder, dict(zip(files, tasks, strict=True)), odd)


def _refuse_odd(what: str, folder: Path, firsts: Mapping[Path, Collection[str]], odd: Sequence[int]) -> None:
    """Raises LibraryError if any of these files is odd, and tells the fields of its first task."""
    if odd:
        files = [*firsts]
        problem = f"{what}: this one has {', '.join(firsts[files[odd[-1]]])[:80]}"
        hint = how_to_give(folder, files, [files[at] for at in odd])
        raise LibraryError(problem, where=str(files[odd[-1]]), hint=hint)


def _refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[Task], id: str | None) -> None:
    """Raises LibraryError if every file alone would be read as several tasks, and they are most of the text.

    If the files have an `id`, this is so only if the items of all lists have one too.
    """
    found = [items_in(task) for task in tasks]
    items = [each for each in found if each is not None and (id is None or has_id(each[2]))]
    if len(items) < len(tasks) or 2 * sum(part for _, part, _ in items) < len(items):
        return
    places = [*dict.fromkeys(place for place, _, _ in items)]
    way = f"‹tasks_field› {word(places[0])}, and ‹type_field› {FILE} for a type a file"
    way = way if len(places) == 1 else f"one of the files: {listed(map(str, files))}"
    each = "‹id_from› content" if id is None else f"‹id_field› {word(id)}"
    what = "an object of tasks by their ids" if places == [ROOT] else f"a list {' or '.join(map(shown, places))}"
    problem = f"each of the {len(files):,} files holds {what}: its items may be the tasks, or the files"
    hint = f"if each item is a task, give {way}\nif each file is a task, give {each}"
    raise LibraryError(problem, where=str(folder), hint=hint)
