"""A folder of one JSON, YAML or TOML file per task, as JSON lines. A task without an id has that of its file."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import Progress, files_below, read_file
from prealloc.library.naming import Names
from prealloc.library.rows import FIELDS
from prealloc.library.text.markup import ENDINGS, json_of
from prealloc.library.text.sources import LINES, Hashed, Source
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON
from prealloc.model.words import quoted

_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What holds many tasks: JSON files beside it say something of them."""


def task_files(folder: Path) -> Source | None:
    """The tasks in a folder and in those below; None unless the first file holds one task. Raises LibraryError.

    Where the highest files are all called alike, as in a folder per task, only files of that name count.
    """
    found = [file for file in files_below(folder) if file.suffix.lower() in (".json", *ENDINGS, *_DATA)]
    files = [file for file in found if file.suffix.lower() not in _DATA]
    highest = min((len(file.parts) for file in files), default=0)
    names = [file.name for file in files if len(file.parts) == highest]
    if len(names) > 1 == len(set(names)):
        files = [file for file in files if file.name == names[0]]
    elif len(files) < len(found):
        return None
    if not files or not _may_be_task(files[0]):
        return None

    def read(hashed: Hashed, progress: Progress | None) -> Generator[bytes]:
        tasks, done = [], 0
        for count, file in enumerate(files, 1):
            content = read_file(file)
            hashed(f"{file.relative_to(folder)}\0{len(content)}\0".encode(errors="surrogateescape") + content)
            tasks.append(_task(file, content))
            done += len(content)
            if progress:
                progress(done, done * len(files) // count)  # about as many bytes in the others
        _refuse_other_kinds(folder, files, tasks)
        common = Names(COMMON, tasks[0], str(folder))
        common.take(tasks, list)
        if common.best()[0] in (None, *common.late):
            names = _names(folder, files)
            tasks = [{"id": Raw(msgspec.json.encode(name)), **task} for name, task in zip(names, tasks, strict=True)]
        for task in tasks:
            yield msgspec.json.encode(task) + b"\n"

    return Source(folder, str(folder), LINES, read)


def _refuse_other_kinds(folder: Path, files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> None:
    """Raises LibraryError where the files have no field in common: then not all of them are tasks."""
    fields = [set(task) for task in tasks if task]
    if not fields or set.intersection(*fields):
        return
    count = Counter(key for task in tasks for key in task)
    pairs = zip(tasks, files, strict=True)
    task, file = min(pairs, key=lambda each: (count[next(iter(each[0]), "")], len(each[0])))
    name = re.sub(r"[*?[\\]", r"\\\g<0>", file.name)  # find takes a pattern
    away = f"find {quoted(folder)} -name {shlex.quote(name)} -exec mv {{}} {{}}.aside ';'"
    hint = f"give the folder with the tasks, or move those of this name away: {away}"
    problem = f"the files have no field in common, so they are not all tasks: this one has {', '.join(task)[:80]}"
    raise LibraryError(problem, where=str(file), hint=hint)


def _may_be_task(file: Path) -> bool:
    """Whether a file holds an object that is not itself a library."""
    if (ending := file.suffix.lower()) in ENDINGS:
        return json_of([read_file(file)], ending, str(file)).startswith(b"{")
    try:
        fields = FIELDS.decode(read_file(file))
    except UNREADABLE:
        return False
    return bool(fields) and bytes(fields.get("tasks", b""))[:1] != b"["


def _names(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths."""
    paths = [Path(readable_name(str(file.relative_to(folder).with_suffix("")))) for file in files]
    for names in ([path.name for path in paths], [path.parent.name for path in paths]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [path.as_posix() for path in paths]


def _task(file: Path, content: bytes) -> dict[str, Raw]:
    try:
        if (ending := file.suffix.lower()) in ENDINGS:
            content = json_of([content], ending, str(file))
        fields = FIELDS.decode(compact(content))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except msgspec.DecodeError:
        problem = "the file does not hold an object, and in a folder each file is to hold one task"
        away = f"mv {quoted(file)} {quoted(f'{file}.aside')}"
        hint = f"give the library's file, or move this one away: {away}"
        raise LibraryError(problem, where=str(file), hint=hint) from None
    return fields
