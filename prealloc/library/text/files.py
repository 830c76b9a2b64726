"""Many files as one library, as JSON lines: each is a task, with the id of its file if it has none, or holds tasks."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
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
from prealloc.library.folder import libraries_below, stem
from prealloc.library.naming import Names
from prealloc.library.rows import FIELDS, field_of
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.cursor import Damage
from prealloc.library.text.formats import OBJECTS
from prealloc.library.text.kinds import (
    FILE,
    Task,
    has_id,
    list_told,
    main_list,
    not_an_object,
    refuse_lists,
    refuse_other_kinds,
)
from prealloc.library.text.markup import MARKUP, json_of
from prealloc.library.text.refuse import HEAD, text_lines
from prealloc.library.text.sources import Proof, Source, file_source
from prealloc.library.text.window import Window
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import shown

_OBJECT = (".json", *MARKUP)
_TASKS = re.compile(rb'\[|\{\s*"(\\.|[^"\\])*"\s*:\s*\{')
_LIBRARY = re.compile(rb'\{\s*"tasks"\s*:\s*(?:%b)' % _TASKS.pattern)
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
    first = {} if has_place or not files else _first_task(files[0])
    is_task = bool(first) or (by_pattern and not has_place and _is_text(files[0]))
    is_document = len(files) == 1 and main_list(first) is not None and not has_id(first)
    if not by_pattern and (is_document if is_task else not has_place or len(files) < 2):
        return None
    folder = Path(os.path.commonpath([file.parent for file in files])) if by_pattern else path
    source = _each(folder, files, asked, keep, checked=not by_pattern) if is_task else _all(folder, files, asked, keep)
    count = "one file" if len(files) == 1 else f"{'each of ' if is_task else ''}{len(files):,} files"
    took = f"took {count} as a task{list_told(first)}" if is_task else f"took the tasks of {count}"
    name = str(seen_from(Path.cwd(), path)) if by_pattern else path
    return source._replace(path=name, where=str(path), took=took)


def _of_folder(folder: Path) -> list[Path]:
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
        total, tasks, shared = sum(map(bytes_of, files)) if progress else 0, 0, set[str]()
        firsts.clear()
        for file, name in zip(files, names, strict=True):
            firsts.append(tasks)
            before, size = proof.size, bytes_of(file)
            proof.begin(name, size)
            told = progress and partial(_told, progress, before, total)
            source = within(file_source(file, fields=asked, keep=tuple(keep)), asked.tasks_field)
            for batch in batches(source, lambda first: Task, proof, told):
                if batch.origin.task == 0:
                    shared = {*batch.rows[0]}.intersection(shared or batch.rows[0])
                    problem = "" if shared else "its first task has no field in common with those of the files before"
                    if batch.title is not None and has_id(_first_task(file)):
                        held = shown(batch.title)
                        problem = f"this seems to be a task with the list {held}, and the first file is none"
                    if problem:
                        raise LibraryError(problem, where=str(file), hint="give files of one kind by a pattern")
                tasks += len(batch.rows)
                yield from _lines(batch, {FILE: name} if asks_file else {})
            if proof.size != before + size:
                raise changed_meanwhile(str(file))

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
            if best is None and asked.id_field is None and asked.id_from is None:
                refuse_lists(folder, files, tasks)
        added = [FILE] if FILE in {asked.id_field, asked.type_field, *keep} else []
        added += ["id"] if best in (None, *common.late) else []
        for name, task in zip(_names(folder, files), tasks, strict=True):
            more = dict.fromkeys(added, Raw(msgspec.json.encode(name)))
            yield msgspec.json.encode(more | task) + b"\n"

    return Source(folder, str(folder), read, "lines", file_of=files.__getitem__)


def _first_task(file: Path) -> Task:
    """The fields of the object that a file holds; none if it is not an object, or itself a library."""
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
        if _is_text(file):
            return {"text": Raw(msgspec.json.encode("".join(text_lines([content], str(file)))))}
        text, ending = b"".join(unpack_stream(iter([content]), str(file))), name_parts(file.name).ending
        text = json_of([text], ending, str(file)) if ending in MARKUP else text.removeprefix(codecs.BOM_UTF8)
        return FIELDS.decode(compact(text))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except msgspec.DecodeError:
        raise not_an_object(folder, files, file) from None
