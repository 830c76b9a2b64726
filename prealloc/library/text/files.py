"""Many files as one library, as JSON lines: each is a task, with the id of its file if it has none, or holds tasks."""

from __future__ import annotations

import codecs
import os
from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import is_pattern, readable_name, seen_from
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import (
    Progress,
    bytes_of,
    changed_meanwhile,
    files_of_pattern,
    read_file,
)
from prealloc.library.folder import libraries_below
from prealloc.library.naming import Names
from prealloc.library.rows import FIELDS, field_of
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.formats import OBJECTS
from prealloc.library.text.kinds import (
    FILE,
    OBJECT,
    Task,
    has_id,
    how_to_give,
    is_text,
    main_list,
    object_in,
    refuse_lists,
    refuse_odd,
    refuse_other_kinds,
    unlike,
)
from prealloc.library.text.markup import MARKUP, json_of
from prealloc.library.text.refuse import text_lines
from prealloc.library.text.sources import Proof, Source, file_source
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import shown

_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
"""What holds many tasks: JSON files beside it say something of them."""


def of_files(path: Path, asked: Fields, keep: Sequence[str]) -> Source | None:
    """The files that a pattern finds, or in a folder and below it. Raises LibraryError.

    Each is a task if the first is an object, or plain text by a pattern. None for a folder of others, unless their
    tasks have a place, and for one that holds a document alone.
    """
    by_pattern, has_place = is_pattern(path), asked.tasks_field is not None
    files = files_of_pattern(path) if by_pattern else _of_folder(path)
    if by_pattern and not files:
        hint = "check the path: * is any name, ** any folders"
        raise LibraryError("there is no such file", where=str(path), hint=hint)
    first = {} if has_place or not files else object_in(files[0])
    is_task = bool(first) or (by_pattern and not has_place and is_text(files[0]))
    is_document = len(files) == 1 and main_list(first) is not None and not has_id(first)
    if not by_pattern and (is_document if is_task else not has_place or len(files) < 2):
        return None
    folder = Path(os.path.commonpath([file.parent for file in files])) if by_pattern else path
    source = _each(folder, files, asked, keep, checked=not by_pattern) if is_task else _all(folder, files, asked, keep)
    count = "one file" if len(files) == 1 else f"{'each of ' if is_task else ''}{len(files):,} files"
    held = main_list(first)
    told = "" if held is None else f"; the first has a list {shown(held)}"
    took = f"took {count} as a task{told}" if is_task else f"took the tasks of {count}"
    name = str(seen_from(Path.cwd(), path)) if by_pattern else path
    return source._replace(path=name, where=str(path), took=took)


def _of_folder(folder: Path) -> list[Path]:
    """The files in a folder and in those below that may be a task each.

    Where files so deep are all called alike, as in a folder per task, and most of those that are not deeper, only
    files of that name count.
    """
    found = libraries_below(folder)
    files = [file for file in found if file.suffix.lower() in OBJECT]
    depths = [len(file.parts) for file in files]
    for depth in sorted({*depths}):
        names = [file.name for file in files if len(file.parts) == depth]
        if len(names) > 1 == len({*names}) and 2 * len(names) > sum(each <= depth for each in depths):
            return [file for file in files if file.name == names[0]]
    has_data = any(file.suffix.lower() in _DATA for file in found)
    return [] if has_data or len(files) == 1 < len(found) else files


def within(source: Source, tasks_field: str | None) -> Source:
    """The tasks at a place in a document; at several, they have the name of their list as type, if they say none."""
    source = source._replace(tasks_field=tasks_field)

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for batch in batches(source, lambda first: Task, proof, progress):
            yield from _lines(batch, {} if batch.title is None else {"type": batch.title})

    return source._replace(read=read, made="lines", tasks_field=None) if "*" in (tasks_field or "") else source


def _all(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str]) -> Source:
    """The tasks of all files, one after the other."""
    names, firsts = _names(folder, files), list[int]()
    asks_file = FILE in {asked.id_field, asked.type_field, *keep}

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        total, tasks, begins = sum(map(bytes_of, files)) if progress else 0, 0, dict[Path, Task]()
        firsts.clear()
        for file, name in zip(files, names, strict=True):
            firsts.append(tasks)
            before, size = proof.size, bytes_of(file)
            proof.begin(name, size)
            told = progress and partial(_told, progress, before, total)
            source = within(file_source(file, fields=asked, keep=tuple(keep)), asked.tasks_field)
            for batch in batches(source, lambda first: Task, proof, told):
                if batch.origin.task == 0:
                    begins[file] = batch.rows[0]
                    if batch.title is not None and has_id(object_in(file)):
                        problem = (
                            f"this seems to be a task with the list {shown(batch.title)}, and the first file is none"
                        )
                        raise LibraryError(problem, where=str(file), hint=how_to_give(folder, files))
                tasks += len(batch.rows)
                yield from _lines(batch, {FILE: name} if asks_file else {})
            if proof.size != before + size:
                raise changed_meanwhile(str(file))
        kinds = [*begins.values()]
        what = "the first tasks of the files have few fields in common, so they are not of one kind"
        refuse_odd(what, folder, [*begins], kinds, unlike(kinds, kinds))

    return Source(folder, str(folder), read, "lines", file_of=lambda task: files[bisect_right(firsts, task) - 1])


def _told(progress: Progress, before: int, total: int, done: int, size: int) -> None:
    progress(before + done, max(total, before + size))


def _lines(batch: Batch, more: Mapping[str, str]) -> Iterator[bytes]:
    """The tasks of a batch as lines, each with these fields if it has none of their names."""
    if not more and batch.fmt is OBJECTS:
        yield bytes(batch.text) + b"\n"
        return
    added = {name: Raw(msgspec.json.encode(text)) for name, text in more.items()}
    if added:
        batch.refuse_twice()
    for text in batch.layout.texts:
        yield (msgspec.json.encode(added | FIELDS.decode(text)) if added else bytes(text)) + b"\n"


def _each(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str], *, checked: bool = False) -> Source:
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
            refuse_other_kinds(folder, files, tasks, common)
            if asked.id_field is None and asked.id_from is None:
                refuse_lists(folder, files, tasks, None if best is None else best.names[0])
        added = [FILE] if FILE in {asked.id_field, asked.type_field, *keep} else []
        added += ["id"] if best in (None, *common.late) else []
        for name, task in zip(_names(folder, files), tasks, strict=True):
            more = dict.fromkeys(added, Raw(msgspec.json.encode(name)))
            yield msgspec.json.encode(more | task) + b"\n"

    return Source(folder, str(folder), read, "lines", file_of=files.__getitem__)


def _names(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths, without endings or with."""
    whole = [Path(readable_name(str(file.relative_to(folder)))) for file in files]
    paths = [path.with_suffix("") for path in whole]
    for names in ([path.name for path in paths], [path.parent.name for path in paths], [*map(Path.as_posix, paths)]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [path.as_posix() for path in whole]


def _task(file: Path, content: bytes, folder: Path, files: Sequence[Path]) -> Task:
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
