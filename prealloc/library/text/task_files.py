"""A folder of one JSON, YAML or TOML file per task, as JSON lines. A task without an id has that of its file."""

from __future__ import annotations

import glob
import os
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
from prealloc.library.text.refuse import python, unused
from prealloc.library.text.sources import LINES, Hashed, Source
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.spelling import ID_SPELLINGS
from prealloc.model.words import quoted, shown

_DATA = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What holds many tasks: JSON files beside it say something of them."""
_MOST_AWAY = 5
"""Files in a command."""
_FIND = "find %s -name %s -exec mv {} {}.aside ';'"
_LISTS_OF_TASKS = re.compile(
    "cases|data|dialog(ue)?s|entries|evals?(_cases)?|examples|instances|items|problems|prompts|questions|records|rows|"
    "samples|scenarios|tests?(_cases)?|tasks",
    re.IGNORECASE,
)
_OF_ALL = (
    "import glob, json, pathlib; [print(json.dumps({'type': %s, **task}))"
    " for f in map(pathlib.Path, sorted(glob.glob(%r, recursive=True))) for task in json.loads(f.read_text())[%r]]"
)


def task_files(folder: Path, asked: Fields = COMMON) -> Source | None:
    """The tasks in a folder and in those below; None unless the first file may hold one. Raises LibraryError.

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
    has_id = not {*ID_SPELLINGS}.isdisjoint(first)
    if not first or (len(files) == 1 and held is not None and not has_id):
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
        _refuse_other_kinds(files, tasks)
        common = Names(COMMON, tasks[0], str(folder))
        common.take(tasks, list)
        if (best := common.best()[0]) in (None, *common.late):
            _refuse_odd(files, tasks, common)
            if best is None and asked.id_field is None and asked.id_from is None:
                _refuse_lists(folder, files, tasks)
            names = _names(folder, files)
            tasks = [{"id": Raw(msgspec.json.encode(name)), **task} for name, task in zip(names, tasks, strict=True)]
        for task in tasks:
            yield msgspec.json.encode(task) + b"\n"

    took = "took the one file in this folder as a task"
    if len(files) > 1:
        took = f"took each of the {len(files):,} files in this folder as a task"
    took += "" if held is None else f"; the first has a list {shown(held)}"
    return Source(folder, str(folder), LINES, read, took=took)


def _refuse_other_kinds(files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> None:
    """Raises LibraryError where not all of the files are tasks."""
    found = _without_common_field(tasks) or _of_two_names(files, tasks)
    if found is not None:
        problem, places = found
        problem = f"{problem}: this one has {', '.join(tasks[places[0]])[:80]}"
        odd = [files[at] for at in places]
        raise LibraryError(problem, where=str(odd[0]), hint=_away(files, odd))


def _away(files: Sequence[Path], odd: Sequence[Path]) -> str:
    """What to do about files that are not tasks."""
    hint, name = "give the folder with the tasks", odd[0].name
    called = [file for file in files if file.name == name]
    if len(odd) == len(files):
        return f"{hint}, or the library's file"
    if len(odd) > 1 and called == odd and re.fullmatch(r"[\w .-]+", name):
        folder = os.path.commonpath([file.parent for file in files]) or "."
        return f"{hint}, or move those of this name away: {_FIND % (quoted(folder), shlex.quote(name))}"
    if len(odd) > _MOST_AWAY:
        return f"{hint}, or move {len(odd):,} files of other kinds away"
    moves = (f"mv {quoted(file)} {quoted(f'{file}.aside')}" for file in odd)
    return f"{hint}, or move {'this one' if len(odd) == 1 else 'these'} away: {' && '.join(moves)}"


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
    """Whether each of several folders has the same two files, which share less than half of their fields; and one kind.

    Not where ids tell all apart, nor where the names are numbers.
    """
    folders = dict[Path, set[str]]()
    for file in files:
        folders.setdefault(file.parent, set()).add(file.name)
    names = next(iter(folders.values()))
    if len(folders) < 2 or len(names) != 2 or any(each != names for each in folders.values()):
        return None
    ids = {bytes(task[name]) for task in tasks for name in ID_SPELLINGS if name in task}
    if len(ids) == len(tasks) or all(Path(name).stem.isdecimal() for name in names):
        return None
    fields = dict[str, set[str]]()
    for file, task in zip(files, tasks, strict=True):
        fields[file.name] = fields.get(file.name, {*task}) & {*task}
    other, kind = sorted(names, key=lambda name: ("task" in name.lower(), len(fields[name]), name))
    if 2 * len(fields[kind] & fields[other]) >= len(fields[kind] | fields[other]):
        return None
    problem = f"every folder has {kind} and {other}, which share few fields, so they are not both tasks"
    return problem, [place for place, file in enumerate(files) if file.name == other]


def _refuse_odd(files: Sequence[Path], tasks: Sequence[dict[str, Raw]], common: Names) -> None:
    """Raises LibraryError where most files have an id of their own, which tells them apart, and others have none."""
    for names in (column.names for column in common.ids if column.is_called_id and column not in common.late):
        ids = [next((bytes(task[name]) for name in names if name in task), None) for task in tasks]
        odd = [file for file, id in zip(files, ids, strict=True) if id is None]
        if 0 < 2 * len(odd) < len(files) and len({*ids}) == len(files) - len(odd) + 1:
            problem = f"the file has no {names[0]}, and most others have one"
            raise LibraryError(problem, where=str(odd[0]), hint=_away(files, odd))


def _refuse_lists(folder: Path, files: Sequence[Path], tasks: Sequence[dict[str, Raw]]) -> None:
    """Raises LibraryError where every file has a list with a usual name of task lists, and it is most of the text."""
    name = _only_list(tasks[0])
    if name is None or not _LISTS_OF_TASKS.fullmatch(name) or any(_only_list(task) != name for task in tasks):
        return
    if 2 * sum(len(bytes(task[name])) for task in tasks) < sum(len(msgspec.json.encode(task)) for task in tasks):
        return
    hint = "if each item is a task, write all lists to one file"
    if all(file.suffix == ".json" for file in files):
        is_named = len({file.stem for file in files}) == len(files)
        alike = {file.name for file in files} == {files[0].name} and files[0].name == glob.escape(files[0].name)
        pattern = f"{glob.escape(str(folder))}/**/{files[0].name if alike else '*.json'}"
        of_all = _OF_ALL % ("f.stem" if is_named else "str(f.parent)", pattern, name)
        hint = f"{hint}: {python(of_all)} > {unused('tasks.jsonl')}"
    problem = f"each of the {len(files):,} files holds a list {shown(name)}: its items may be the tasks, or the files"
    raise LibraryError(problem, where=str(folder), hint=f"{hint}\nif each file is a task, give ‹id_from› content")


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
