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
from prealloc.library.text.refuse import python
from prealloc.library.text.sources import LINES, Hashed, Source
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON
from prealloc.model.words import quoted, shown

_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What holds many tasks: JSON files beside it say something of them."""
_MOST_AWAY = 5
"""Names of files in a command."""


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
    first = _first_task(files[0]) if files else {}
    held = _only_list(first)
    if not first or (held is not None and len(files) == 1):
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
        if (best := common.best()[0]) in (None, *common.late):
            _refuse_odd(folder, files, tasks, common)
            if best is None:
                _refuse_lists(folder, files, tasks)
            names = _names(folder, files)
            tasks = [{"id": Raw(msgspec.json.encode(name)), **task} for name, task in zip(names, tasks, strict=True)]
        for task in tasks:
            yield msgspec.json.encode(task) + b"\n"

    took = "took 1 file of this folder, which is a task"
    if len(files) > 1:
        took = f"took {len(files):,} files of this folder for a task each"
    took += "" if held is None else f"; the first has a list {shown(held)}"
    return Source(folder, str(folder), LINES, read, took=took)


def _refuse_other_kinds(folder: Path, files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> None:
    """Raises LibraryError where not all of the files are tasks."""
    found = _without_common_field(tasks) or _of_two_names(files, tasks)
    if found is not None:
        problem, places = found
        problem = f"{problem}: this one has {', '.join(tasks[places[0]])[:80]}"
        odd = [files[at] for at in places] if len(places) < len(files) else []
        raise LibraryError(problem, where=str(files[places[0]]), hint=_away(folder, odd))


def _away(folder: Path, odd: Sequence[Path]) -> str:
    """What to do about files that are not tasks."""
    names = sorted({re.sub(r"[*?[\\]", r"\\\g<0>", file.name) for file in odd})  # find takes patterns
    hint = "give the folder with the tasks"
    if not 0 < len(names) <= _MOST_AWAY:
        return f"{hint}, or the library's file"
    tests = " -o ".join(f"-name {shlex.quote(name)}" for name in names)
    tests = f"'(' {tests} ')'" if len(names) > 1 else tests
    which = "those of these names" if len(names) > 1 else "those of this name"
    return f"{hint}, or move {which} away: find {quoted(folder)} {tests} -exec mv {{}} {{}}.aside ';'"


def _without_common_field(tasks: Sequence[dict[str, Raw]]) -> tuple[str, list[int]] | None:
    """Whether the files have no field in common, in words, and those that are least like the others."""
    fields = [set(task) for task in tasks if task]
    if not fields or set.intersection(*fields):
        return None
    count = Counter(key for task in tasks for key in task)
    like = max(tasks, key=lambda task: (count[next(iter(task), "")], len(task)))
    key = max(like, key=count.__getitem__)
    odd = [place for place, task in enumerate(tasks) if key not in task or count[key] == 1]
    return "the files have no field in common, so they are not all tasks", odd


def _of_two_names(files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> tuple[str, list[int]] | None:
    """Whether files of two names lie in several folders, and share less than half of their fields; and one of them."""
    often, fields = Counter(file.name for file in files), dict[str, set[str]]()
    for file, task in zip(files, tasks, strict=True):
        if often[file.name] > 1:
            fields[file.name] = fields.get(file.name, {*task}) & {*task}
    task_name = max(fields, key=lambda name: ("task" in name.lower(), len(fields[name])), default="")
    for name, own in fields.items():
        if 2 * len(own & fields[task_name]) < len(own | fields[task_name]):
            problem = f"{task_name} and {name} lie in several folders and share few fields, so one is not the task"
            return problem, [place for place, file in enumerate(files) if file.name == name]
    return None


def _refuse_odd(folder: Path, files: Sequence[Path], tasks: Sequence[dict[str, Raw]], common: Names) -> None:
    """Raises LibraryError where most files have ids of their own and others have none."""
    for names in (column.names for column in common.ids if column.kind and column.names[-1].lower().endswith("id")):
        odd = [file for file, task in zip(files, tasks, strict=True) if not any(name in task for name in names)]
        if 0 < 2 * len(odd) < len(files):
            problem = f"the file has no {names[0]}, and most others have one"
            raise LibraryError(problem, where=str(odd[0]), hint=_away(folder, odd))


def _refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> None:
    """Raises LibraryError where every file has the same only list of objects, and it is most of the text."""
    name = _only_list(tasks[0])
    if name is None or any(_only_list(task) != name for task in tasks):
        return
    if 2 * sum(len(bytes(task[name])) for task in tasks) < sum(len(msgspec.json.encode(task)) for task in tasks):
        return
    hint = "make one file of the lists, or give every file an id if it is a task"
    if all(file.suffix == ".json" for file in files):
        each = "f.stem" if len({file.stem for file in files}) == len(files) else "str(f.parent)"
        pattern = files[0].name if {file.name for file in files} == {files[0].name} else "*.json"
        found = f"for f in sorted(pathlib.Path({str(folder)!r}).rglob({pattern!r}))"
        whole = "json.loads(f.read_text())"
        start = "import json, pathlib; [print(json.dumps({"
        lines = python(f"{start}'type': {each}, **task}})) {found} for task in {whole}[{name!r}]]")
        ones = python(f"{start}'id': {each}, **{whole}}})) {found}]")
        hint = f"make a task of each item: {lines} > tasks.jsonl\nor of each file: {ones} > tasks.jsonl"
    problem = f"each of the {len(files):,} files holds a list {shown(name)}: its items may be the tasks, or the files"
    raise LibraryError(problem, where=str(folder), hint=hint)


def _first_task(file: Path) -> dict[str, Raw]:
    """The fields of the object that a file holds; none if it is not an object, or itself a library."""
    ending, content = file.suffix.lower(), read_file(file)
    try:
        fields = FIELDS.decode(json_of([content], ending, str(file)) if ending in ENDINGS else content)
    except UNREADABLE:
        return {}
    return {} if bytes(fields.get("tasks", b""))[:1] == b"[" else fields


def _only_list(task: dict[str, Raw]) -> str | None:
    """The field that is the only list of objects in a task."""
    lists = [name for name, raw in task.items() if re.match(rb"\[\s*\{", raw)]
    return lists[0] if len(lists) == 1 else None


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
