"""Many files as one library, as JSON lines: each is a task, with the id of its file if it has none, or holds tasks."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import is_pattern, seen_from
from prealloc.library.disk import Progress, bytes_of, changed_meanwhile, files_of_pattern
from prealloc.library.rows import FIELDS
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.document import ROOT
from prealloc.library.text.kinds import Task, first_task, has_id, how_to_give, items_in, refuse_odd, unlike
from prealloc.library.text.sources import Proof, Source, file_source
from prealloc.library.text.task_files import FILE, in_folder, names_of, one_each
from prealloc.model.fields import Fields
from prealloc.model.words import shown


def of_files(path: Path, asked: Fields, keep: Sequence[str]) -> Source | None:
    """The files that a pattern finds, or in a folder and below it. Raises LibraryError.

    Each is a task if the first is one. None for a folder of others, unless their tasks have a place, and for one that
    holds a document alone.
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
    read = partial(one_each, took=None if by_pattern else took) if first else _all
    source = read(folder, files, asked, keep)
    name = str(seen_from(Path.cwd(), path)) if by_pattern else path
    return source._replace(path=name, where=str(path), took=took)


def within(source: Source, tasks_field: str | None) -> Source:
    """The tasks at a place in a document; at several, they have the name of their list as type, if they say none."""
    source = source._replace(tasks_field=tasks_field)

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for batch in batches(source, lambda first: Task, proof, progress):
            yield from _lines(batch, {} if batch.title is None else {"type": batch.title})

    return source._replace(read=read, made="lines", tasks_field=None) if "*" in (tasks_field or "") else source


def _all(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str]) -> Source:
    """The tasks of all files, one after the other."""
    names, firsts = names_of(folder, files), list[int]()
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
        refuse_odd(what, folder, begins, unlike(kinds, kinds))

    return Source(folder, str(folder), read, "lines", file_of=lambda task: files[bisect_right(firsts, task) - 1])


def _lines(batch: Batch, more: Mapping[str, str]) -> Iterator[bytes]:
    """The tasks of a batch as lines, each with these fields if it has none of their names."""
    if not more and batch.layout == "objects":
        yield bytes(batch.text) + b"\n"
        return
    added = {name: Raw(msgspec.json.encode(text)) for name, text in more.items()}
    if added:
        batch.refuse_twice()
    for text in batch.texts:
        yield (msgspec.json.encode(added | FIELDS.decode(text)) if added else bytes(text)) + b"\n"
