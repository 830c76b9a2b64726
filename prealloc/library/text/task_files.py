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
    """Raises LibraryError where not all of the files are tasks."""
    found = _without_common_field(tasks) or _of_two_names(files, tasks)
    if found is None:
        return
    problem, place = found
    name = re.sub(r"[*?[\\]", r"\\\g<0>", files[place].name)  # find takes a pattern
    away = f"find {quoted(folder)} -name {shlex.quote(name)} -exec mv {{}} {{}}.aside ';'"
    hint = f"give the folder with the tasks, or move those of this name away: {away}"
    problem = f"{problem}: this one has {', '.join(tasks[place])[:80]}"
    raise LibraryError(problem, where=str(files[place]), hint=hint)


def _without_common_field(tasks: Sequence[dict[str, Raw]]) -> tuple[str, int] | None:
    """Whether the files have no field in common, in words, and which of them is least like the others."""
    fields = [set(task) for task in tasks if task]
    if not fields or set.intersection(*fields):
        return None
    count = Counter(key for task in tasks for key in task)
    odd = min(range(len(tasks)), key=lambda place: (count[next(iter(tasks[place]), "")], len(tasks[place])))
    return "the files have no field in common, so they are not all tasks", odd


def _of_two_names(files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> tuple[str, int] | None:
    """Whether files of two names lie in several folders, and share less than half of their fields; and one of them."""
    often, fields = Counter(file.name for file in files), dict[str, set[str]]()
    for file, task in zip(files, tasks, strict=True):
        if often[file.name] > 1:
            fields[file.name] = fields.get(file.name, {*task}) & {*task}
    task_name = max(fields, key=lambda name: ("task" in name.lower(), len(fields[name])), default="")
    for name, own in fields.items():
        if 2 * len(own & fields[task_name]) < len(own | fields[task_name]):
            problem = f"{task_name} and {name} lie in several folders and share few fields, so one is not the task"
            return problem, [file.name for file in files].index(name)
    return None


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
