"""Many files as one library, as JSON lines: each is a task, with the id of its file if it has none, or holds tasks."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import readable_name, seen_from
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import (
    Progress,
    bytes_of,
    changed_meanwhile,
    files_below,
    head_of,
    open_library_file,
    pieces_of,
    read_file,
)
from prealloc.library.folder import stem
from prealloc.library.formats import binary_format
from prealloc.library.naming import Names, needed
from prealloc.library.rows import FIELDS
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.cursor import Damage
from prealloc.library.text.formats import OBJECTS
from prealloc.library.text.markup import json_of
from prealloc.library.text.refuse import HEAD, no_document, not_utf8
from prealloc.library.text.sources import LINES, MARKUP, OTHER, Proof, Source, file_source
from prealloc.library.text.window import Window
from prealloc.library.unpack import PACKED_NAME, unpack_stream
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import quoted, shown, word

FILE = "file"
"""The field with the name of a task's file, where somebody asks for it and the task has none."""
_OBJECT = re.compile(rf"\.(json|ya?ml|toml)({PACKED_NAME})?\Z", re.IGNORECASE)
_OBJECTS = (".json", *MARKUP)
_TASKS = re.compile(rb'\[|\{\s*"(\\.|[^"\\])*"\s*:\s*\{')
_LIBRARY = re.compile(rb'\{\s*"tasks"\s*:\s*(?:%b)' % _TASKS.pattern)
_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What holds many tasks: JSON files beside it say something of them."""
_LISTS_OF_TASKS = re.compile(
    "cases|data|dialog(ue)?s|entries|evals?(_cases)?|examples|instances|items|problems|prompts|questions|records|rows|"
    "samples|scenarios|tests?(_cases)?|tasks",
    re.IGNORECASE,
)

Task = dict[str, Raw]
_Read = Callable[[Proof, Progress | None], Generator[bytes]]


def matching(pattern: Path, asked: Fields, keep: Sequence[str]) -> Source:
    """The files that a pattern finds. Each is a task if the first is an object or plain text. Raises LibraryError."""
    where, files = str(pattern), _found(str(pattern))
    if not files:
        raise LibraryError("there is no such file", where=where, hint="check the path: * is any name, ** any folders")
    folder = Path(os.path.commonpath([file.parent for file in files]))
    first = {} if asked.tasks_field is not None else _first_task(files[0])
    is_one = first or (asked.tasks_field is None and _is_text(files[0]))
    read = _each(folder, files) if is_one else _all(folder, files, asked, keep)
    took = f"took {'each' if is_one else 'the tasks'} of {len(files):,} files{' as a task' if is_one else ''}"
    took += _with_list(first)
    return Source(str(seen_from(Path.cwd(), pattern)), where, LINES, read, took=took)


def task_files(folder: Path, asked: Fields, keep: Sequence[str]) -> Source | None:
    """The tasks in a folder and in those below; None unless the first file may hold one. Raises LibraryError.

    Where the highest files are all called alike, as in a folder per task, only files of that name count.
    """
    found = [file for file in files_below(folder) if file.suffix.lower() in (*_OBJECTS, *_DATA)]
    files = [file for file in found if file.suffix.lower() in _OBJECTS]
    highest = min((len(file.parts) for file in files), default=0)
    names = [file.name for file in files if len(file.parts) == highest]
    if len(names) > 1 == len(set(names)):
        files = [file for file in files if file.name == names[0]]
    elif len(files) < len(found):
        return None
    if len(files) > 1 and asked.tasks_field is not None:
        took = f"took the tasks of {len(files):,} files in this folder"
        return Source(folder, str(folder), LINES, _all(folder, files, asked, keep), took=took)
    first = _first_task(files[0]) if files else {}
    held = _only_list(first)
    if not first or (len(files) == 1 and held is not None and not _has_id(first)):
        return None
    took = "took the one file in this folder as a task"
    if len(files) > 1:
        took = f"took each of the {len(files):,} files in this folder as a task"
    took += _with_list(first)
    return Source(folder, str(folder), LINES, _each(folder, files, asked), took=took)


def within(source: Source, tasks_field: str) -> Source:
    """The tasks at a place in a document; at several, they have the name of their list as type, if they say none."""
    source = source._replace(tasks_field=tasks_field)

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for batch in batches(source, lambda first: Task, proof, progress):
            yield from _lines(batch, {} if batch.title is None else {"type": batch.title})

    return source._replace(name=LINES, read=read, tasks_field=None) if "*" in tasks_field else source


def _of_any_format(file: Path, asked: Fields, keep: Sequence[str]) -> Source:
    """The tasks of a file, with the fields that they have in it."""
    format = binary_format(head_of(file))
    if format is None:
        source = file_source(file, needed=needed(asked, keep))
        return source if asked.tasks_field is None else within(source, asked.tasks_field)
    if asked.tasks_field is not None:
        raise no_document(asked.tasks_field, str(file))

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        with open(open_library_file(file), "rb") as raw:
            deque(pieces_of(raw.fileno(), str(file), proof, progress), maxlen=0)
        library = format.open(file, keep=tuple(keep), fields=Fields(id_from="position"))
        for text in library.as_written(library.order()):
            yield text + b"\n"

    return Source(file, str(file), LINES, read)


def _all(folder: Path, files: Sequence[Path], asked: Fields, keep: Sequence[str]) -> _Read:
    """Reads the tasks of all files, one after the other."""
    names = _names(folder, files)
    more = FILE in {asked.id_field, asked.type_field, *keep}

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        total = sum(map(bytes_of, files)) if progress else 0
        for file, name in zip(files, names, strict=True):
            before, size = proof.size, bytes_of(file)
            proof.begin(name, size)
            told = progress and partial(_told, progress, before, total)
            source = _of_any_format(file, asked, keep)
            for batch in batches(source, lambda first: Task, proof, told):
                if batch.title is not None and batch.origin.task == 0 and _has_id(_first_task(file)):
                    problem = f"this seems to be a task with the list {shown(batch.title)}, and the first file is none"
                    raise LibraryError(problem, where=str(file), hint="give files of one kind by a pattern")
                yield from _lines(batch, {FILE: name} if more else {})
            if proof.size != before + size:
                raise changed_meanwhile(str(file))

    return read


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


def _each(folder: Path, files: Sequence[Path], asked: Fields | None = None) -> _Read:
    """Reads the task in each file; with `asked`, what was asked for, files that are not all tasks are refused."""

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        tasks = []
        for count, file in enumerate(files, 1):
            content = read_file(file)
            proof.begin(str(file.relative_to(folder)), len(content))
            proof(content)
            tasks.append(_task(file, content))
            if progress:
                progress(proof.size, proof.size * len(files) // count)  # about as many bytes in the others
        common = Names(COMMON, tasks[0], str(folder))
        common.take(tasks, list)
        best = common.best()[0]
        if asked is not None:
            _refuse_other_kinds(files, tasks, common)
            if best is None and asked.id_field is None and asked.id_from is None:
                _refuse_lists(folder, files, tasks)
        if best in (None, *common.late):
            ids = [Raw(msgspec.json.encode(name)) for name in _names(folder, files)]
            tasks = [{"id": id, **task} for id, task in zip(ids, tasks, strict=True)]
        for task in tasks:
            yield msgspec.json.encode(task) + b"\n"

    return read


def _refuse_other_kinds(files: Sequence[Path], tasks: Sequence[Task], common: Names) -> None:
    """Raises LibraryError where not all of the files are tasks.

    Such a file has half or less of the fields that at least half of the files have; or no id, where most have one that
    tells them apart.
    """
    count = Counter(key for task in tasks for key in task)
    usual = {key for key in count if 2 * count[key] >= len(tasks)}
    ids = [column.names for column in common.ids if column.is_called_id and column not in common.late]
    odd = [at for at, task in enumerate(tasks) if len(task) and 2 * len(usual & {*task}) <= len(usual)]
    what = "the files have few fields in common, so they are not all tasks"
    for names in ids if not odd and common.best()[0] in (None, *common.late) else ():
        own = [next((bytes(task[name]) for name in names if name in task), None) for task in tasks]
        if 2 * own.count(None) < len(tasks) == len({*own}) + own.count(None) - 1:
            odd, what = (
                [at for at, id in enumerate(own) if id is None],
                f"the file has no {names[0]}, and most others have one",
            )
            break
    if odd:
        problem = f"{what}: this one has {', '.join(tasks[odd[0]])[:80]}"
        raise LibraryError(problem, where=str(files[odd[0]]), hint=_others(files, [files[at] for at in odd]))


def _others(files: Sequence[Path], odd: Sequence[Path]) -> str:
    """How to give all files but these, or all."""
    apart = {*odd}
    rest = [file for file in files if file not in apart] or files
    names, endings = {file.name for file in rest}, {file.suffix for file in files}
    ending = endings.pop() if len(endings) == 1 else ""
    of_all, of_rest = (glob.escape(os.path.commonpath([file.parent for file in each])) for each in (files, rest))
    told = f"all of them: {quoted(os.path.join(of_all, '**', f'*{ending}'))}"
    shared = os.path.commonprefix([*names])  # noqa: RUF071  # of letters
    for begin in (glob.escape(shared), "[0-9]"):
        pattern = os.path.join(of_rest, "**", begin if len(names) == 1 else f"{begin}*{rest[0].suffix}")
        with contextlib.suppress(LibraryError):
            if rest != files and _found(pattern) == rest:
                return f"give those that are tasks, such as {quoted(pattern)}; or {told}"
    return f"give those that are tasks by a pattern, or {told}"


def _found(pattern: str) -> list[Path]:
    """The files of a pattern, in order. Raises LibraryError, rather than leave any out or give any twice."""
    hint = "give a pattern that does not lead there"
    try:
        files = sorted({Path(name) for name in glob.iglob(pattern, recursive=True) if not os.path.isdir(name)})
        # glob passes over what it cannot read.
        parts = Path(pattern).parts
        heads = [".", *accumulate([*parts, "*"] if parts[-1:] == ("**",) else parts, os.path.join)]
        for head in (head for head, below in pairwise(heads) if glob.has_magic(below)):
            for folder in glob.iglob(os.path.join(head, ""), recursive=True):
                if not os.access(folder, os.R_OK | os.X_OK):
                    raise LibraryError("the folder cannot be read", where=folder, hint=hint)
    except RecursionError:
        raise LibraryError(
            "its folders are nested too deep for a pattern", where=pattern, hint="give a folder"
        ) from None
    real, places = cache(os.path.realpath), dict[tuple[str, str], Path]()
    for file in files:
        other = places.setdefault((real(file.parent), file.name), file)
        if other != file:
            raise LibraryError(f"by a link, this is {other} again", where=str(file), hint=hint)
    return files


def _refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[Task]) -> None:
    """Raises LibraryError where every file has a list with a usual name of task lists, and it is most of the text."""
    name = _only_list(tasks[0])
    if name is None or not _LISTS_OF_TASKS.fullmatch(name) or any(_only_list(task) != name for task in tasks):
        return
    if 2 * sum(len(bytes(task[name])) for task in tasks) >= sum(len(msgspec.json.encode(task)) for task in tasks):
        items = f"if each item is a task, give ‹tasks_field› {word(name)}, and ‹type_field› {FILE} for a type a file"
        hint = f"{items}\nif each file is a task, give ‹id_from› content"
        problem = (
            f"each of the {len(files):,} files holds a list {shown(name)}: its items may be the tasks, or the files"
        )
        raise LibraryError(problem, where=str(folder), hint=hint)


def _first_task(file: Path) -> Task:
    """The fields of the object that a file holds; none if it is not an object, or itself a library."""
    if not _OBJECT.search(file.name):
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


def _has_id(task: Task) -> bool:
    return not {*ID_SPELLINGS}.isdisjoint(task)


def _is_text(file: Path) -> bool:
    """Whether a file is not called as a library is, nor as an object."""
    return not stem(file.name) and not _OBJECT.search(file.name)


def _only_list(task: Task) -> str | None:
    """The field that is the only list of objects in a task."""
    lists = [name for name, raw in task.items() if re.match(rb"\[\s*\{", raw)]
    return lists[0] if len(lists) == 1 else None


def _with_list(first: Task) -> str:
    held = _only_list(first)
    return "" if held is None else f"; the first has a list {shown(held)}"


def _names(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths, without endings or with."""
    whole = [Path(readable_name(str(file.relative_to(folder)))) for file in files]
    paths = [path.with_suffix("") for path in whole]
    for names in ([path.name for path in paths], [path.parent.name for path in paths], [*map(Path.as_posix, paths)]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [path.as_posix() for path in whole]


def _json(file: Path, content: bytes) -> bytes:
    """What a file holds as JSON. Raises LibraryError."""
    text = b"".join(unpack_stream(iter([content]), str(file))).removeprefix(codecs.BOM_UTF8)
    ending = OTHER.search(file.name)
    return json_of([text], f".{ending[1].lower()}", str(file)) if ending else text


def _task(file: Path, content: bytes) -> Task:
    """The object that a file holds; or its text, if it is not called as a library is. Raises LibraryError."""
    try:
        if _is_text(file):
            return {"text": Raw(msgspec.json.encode(content.decode("utf-8-sig")))}
        return FIELDS.decode(compact(_json(file, content)))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except UnicodeDecodeError:
        raise LibraryError("this is not UTF-8", where=str(file), hint=not_utf8(str(file))) from None
    except msgspec.DecodeError:
        problem = "the file does not hold an object, and each file is to hold one task"
        raise LibraryError(problem, where=str(file), hint="give those that are tasks by a pattern") from None
