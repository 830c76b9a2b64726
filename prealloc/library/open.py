"""From a path to a library that is open: which file of a folder, which format, and the quickest way into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prealloc.errors import LibraryError
from prealloc.files.paths import index_places
from prealloc.library.disk import Progress, head_of
from prealloc.library.folder import choose
from prealloc.library.formats import PARTS, LibraryFormat, binary_format
from prealloc.library.rows import checked_keep
from prealloc.library.text.read import read_text
from prealloc.library.unpack import packing

if TYPE_CHECKING:
    from prealloc.library.base import Library
    from prealloc.library.text.streamed import Shortlist

STREAM_FROM = 1 << 30
"""A file of so many bytes, or a quarter of that packed, is not read into memory where it can be avoided."""


def read_library(
    path: str | Path,
    *,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    progress: Progress | None = None,
    notes: Callable[[str], None] | None = None,
    shortlist: Shortlist | None = None,
    stream: bool = False,
) -> Library:
    """Opens the task library at `path`: who its tasks are, and any of them on demand.

    A library is `{"tasks": [...], ...}`, a bare `[...]`, or JSON lines, each also in gzip or zstd, told by
    content (a name in .jsonl or .ndjson decides where the content leaves it open); or what `library convert` makes:
    a SQLite database, a folder of parts, Parquet, a pool. A task is an object with `id` or `instance_id`,
    `task_type` or `type` (of two, the first named wins), and a `workflow` that may be any JSON value, null or missing.

    In a folder, `difficulty` picks `*_<difficulty>_with_workflows.json`, then `*_<difficulty>.json`, of several
    formats the JSON. `keep` names further fields of the tasks to take along. `progress` is called with (bytes read,
    bytes in all), `notes` with sentences that a user should see. With a `shortlist` only the tasks that it wants need
    be held: then `-` is standard input, and a JSON file is read in one pass and little memory if `stream` says so or
    it is large. Without one, a large file is indexed in memory. A file with an index that fits is not read at all.

    Raises LibraryError, with file, place and hint, for whatever is no task library (duplicate ids and keys,
    bad UTF-8, truncation, ...). The inside of a workflow is checked when its task is asked for.
    Raises OptionsError if `keep` names a field that every task has anyway, or one with quotes or the like.
    """
    keep = checked_keep(keep)
    if str(path) == "-":
        return _standard_input(shortlist, difficulty, keep, progress)
    if is_parts(path):
        return PARTS.open(Path(path), difficulty=difficulty, keep=keep)
    file, took = choose(Path(path), difficulty)
    format = _stored_format(file)
    if format is not None:
        library = format.open(file, difficulty=difficulty, keep=keep)
    else:
        library = _read_json(file, difficulty, keep, progress, notes, shortlist, stream)
    library.took = took
    return library


def json_file(path: str | Path, difficulty: str | None) -> Path | None:
    """The file that a path means, if it is JSON; None for the other formats, and for standard input."""
    if str(path) == "-" or is_parts(path):
        return None
    file, _ = choose(Path(path), difficulty)
    return file if _stored_format(file) is None else None


def is_parts(path: str | Path) -> bool:
    """Whether there is a library of parts: a folder, and yet one library."""
    if not os.path.isdir(path):
        return False
    from prealloc.library.parts.index import is_ours

    return is_ours(Path(path))


def _stored_format(file: Path) -> LibraryFormat | None:
    if file.is_dir():  # a folder that was chosen in a folder
        return PARTS
    return binary_format(head_of(file))


def _read_json(
    file: Path,
    difficulty: str | None,
    keep: tuple[str, ...],
    progress: Progress | None,
    notes: Callable[[str], None] | None,
    shortlist: Shortlist | None,
    stream: bool,
) -> Library:
    is_there = bool(head_of(file, 1))  # else reading it tells what is wrong
    if is_there and any(map(os.path.lexists, index_places(file))):
        from prealloc.library.packed.index import TaskIndex

        try:
            return TaskIndex.open(file, difficulty=difficulty, keep=keep)
        except LibraryError as error:
            if notes:
                notes(
                    f"the index of {file.name} is not used: {error.problem}; `prealloc library index {file}` repairs it"
                )
    large = _is_large(file)
    if shortlist is not None and (stream or large):
        from prealloc.library.text.streamed import read_stream

        return read_stream(file, shortlist, difficulty=difficulty, keep=keep, progress=progress)
    if large and packing(head_of(file, 4)) is None:
        from prealloc.library.packed.indexing import index_in_memory

        return index_in_memory(file, difficulty=difficulty, keep=keep, progress=progress)
    return read_text(file, difficulty=difficulty, keep=keep, progress=progress)


def _standard_input(
    shortlist: Shortlist | None, difficulty: str | None, keep: tuple[str, ...], progress: Progress | None
) -> Library:
    if shortlist is None:
        hint = "save it to a file, and give that"
        raise LibraryError("standard input can be read only once, for one plan", where="-", hint=hint)
    from prealloc.library.text.streamed import STDIN, read_stream

    return read_stream(STDIN, shortlist, difficulty=difficulty, keep=keep, progress=progress)


def _is_large(file: Path) -> bool:
    try:
        size = file.stat().st_size
    except (OSError, ValueError):
        return False  # reading it tells
    return size > (STREAM_FROM if packing(head_of(file, 4)) is None else STREAM_FROM // 4)
