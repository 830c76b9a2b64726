"""A folder of one JSON or YAML file per task, as JSON lines. A task without an id has that of its file or folder."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import Progress, read_file
from prealloc.library.naming import Names
from prealloc.library.rows import FIELDS
from prealloc.library.text.sources import LINES, Hashed, Source
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.words import brief

_YAML = (".yaml", ".yml")
_ENDINGS = (".json", *_YAML)


def task_files(folder: Path) -> Source | None:
    """The tasks in a folder and in those below; None unless the first file holds one task. Raises LibraryError.

    Where the highest files are all called alike, as in a folder per task, only files of that name count.
    """
    try:
        named = (file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS)
        files = sorted(file for file in named if not file.name.startswith(".") and file.is_file())
    except OSError:
        return None  # choosing in it tells
    highest = min((len(file.parts) for file in files), default=0)
    names = [file.name for file in files if len(file.parts) == highest]
    if len(names) > 1 == len(set(names)):
        files = [file for file in files if file.name == names[0]]
    if not files or not _may_be_task(files[0]):
        return None

    def read(hashed: Hashed, progress: Progress | None) -> Generator[bytes]:
        tasks, done, in_all = [], 0, sum(file.stat().st_size for file in files)
        for file in files:
            content = read_file(file)
            hashed(f"{file.relative_to(folder)}\0{len(content)}\0".encode(errors="surrogateescape") + content)
            tasks.append(_task(file, content))
            done += len(content)
            if progress:
                progress(done, max(done, in_all))
        common = Names(COMMON, tasks[0], str(folder))
        common.take(tasks, list)
        if common.best()[0] is None:
            names = _names(folder, files)
            tasks = [{"id": Raw(msgspec.json.encode(name)), **task} for name, task in zip(names, tasks, strict=True)]
        for task in tasks:
            yield msgspec.json.encode(task) + b"\n"

    return Source(folder, str(folder), LINES, read)


def _may_be_task(file: Path) -> bool:
    """Whether a file holds an object that is not itself a library."""
    if file.suffix.lower() in _YAML:
        return True
    try:
        fields = FIELDS.decode(read_file(file))
    except (LibraryError, *UNREADABLE):
        return False
    return bool(fields) and bytes(fields.get("tasks", b""))[:1] != b"["


def _names(folder: Path, files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or those of their folders, or their paths."""
    paths = [file.relative_to(folder).with_suffix("") for file in files]
    for names in ([path.name for path in paths], [path.parent.name for path in paths]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [path.as_posix() for path in paths]


def _task(file: Path, content: bytes) -> dict[str, Raw]:
    try:
        if file.suffix.lower() in _YAML:
            content = _yaml(file, content)
        fields = FIELDS.decode(compact(content))
    except StrictJsonError as error:
        where = str(file) if error.offset is None else f"{file}, byte {error.offset}"
        raise LibraryError(error.problem, where=where, hint="fix the file, or move it away") from None
    except msgspec.DecodeError:
        problem = "the file does not hold an object, and the other files hold one task each"
        away = f"mv {shlex.quote(str(file))} {shlex.quote(f'{file}.aside')}"
        raise LibraryError(
            problem, where=str(file), hint=f"give the library's file, or move this one away: {away}"
        ) from None
    return fields


def _yaml(file: Path, content: bytes) -> bytes:
    """What a YAML file says, as JSON. Raises StrictJsonError."""
    try:
        import yaml
    except ImportError as error:
        raise LibraryError(
            f"YAML needs PyYAML ({error})", where=str(file), hint="pip install 'prealloc[yaml]'"
        ) from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
        """Plain values: a date stays the text that it is, and no key is there twice."""

        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            if len(made) < len(node.value):
                raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
            return made

    try:
        value = yaml.load(content, Loader)
        check_json(value, "task")
    except (yaml.YAMLError, NoJson, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(brief(error).split())
        raise StrictJsonError(f"it is not YAML that JSON can hold: {problem}") from None
    return msgspec.json.encode(value)
