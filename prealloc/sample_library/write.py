"""Writes a sample library: real in shape, size and proportions, made up in content.

The same (tasks, workflow_bytes, seed) give the same bytes on every machine, and a larger sample starts with
the tasks of a smaller one. Tasks are written as they are made: a million need no more memory than ten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from prealloc.errors import InputError, Mistake, refuse
from prealloc.files.atomic import is_taken
from prealloc.library.new_file import new_file
from prealloc.sample_library.tasks import task, type_order

_NAME = re.compile(r"\.(json|jsonl|ndjson)(\.gz|\.zst)?\Z")
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz|\.zst)?\Z")
_MOST_TASKS = 2**32


class SampleInfo(NamedTuple):
    """What `write_sample` wrote: path, number of tasks, bytes on disk, tasks per type."""

    path: Path
    tasks: int
    bytes: int
    types: dict[str, int]


def write_sample(
    out: Path,
    *,
    tasks: int = 630,
    workflow_bytes: int = 84_000,
    seed: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SampleInfo:
    """Writes a sample library of `tasks` tasks to `out`, pretty-printed; about 60 MB by default.

    A workflow has about `workflow_bytes` bytes when printed with an indent of 2; with 0 the tasks have none.
    `out` ends in .json, or in .jsonl or .ndjson (one task a line, compact), and may end further in .gz or .zst.
    `progress` is called with (tasks written, tasks in all).

    Raises OptionsError for numbers that make no library and names that end otherwise, InputError if `out` is there
    (unless `force`) or cannot be made, CannotGoOn if the disk fails; a file that is there stays as it was.
    """
    out = Path(out)
    _refuse(out, tasks, workflow_bytes, seed)
    if is_taken(out) and not force:
        hint = "this writes a library of made-up tasks: name a new file, or give ‹force› to replace what is there"
        raise InputError("it already exists", where=str(out), hint=hint)
    types: Counter[str] = Counter()
    lines = _LINES.search(out.name) is not None
    with new_file(out, force=force) as write:
        if not lines:
            write(b'{\n  "tasks": [')
        for index, kind in enumerate(islice(type_order(), tasks)):
            text = msgspec.json.encode(task(seed, index, kind, workflow_bytes))
            if lines:
                write(text + b"\n")
            else:
                write((b",\n    " if index else b"\n    ") + _indented(text, 4))
            types[kind] += 1
            if progress:
                progress(index + 1, tasks)
        if not lines:
            made_by = {"generator": "prealloc library sample", "num_tasks": tasks, "seed": seed}
            metadata = msgspec.json.encode({**made_by, "workflow_bytes": workflow_bytes, "types": types})
            write(b'\n  ],\n  "metadata": ' + _indented(metadata, 2) + b"\n}\n")
    return SampleInfo(out, tasks, out.stat().st_size, dict(types))


def _indented(text: bytes, depth: int) -> bytes:
    # No string holds a line break as such, so every one of them is between tokens.
    return msgspec.json.format(text, indent=2).replace(b"\n", b"\n" + b" " * depth)


def _refuse(out: Path, tasks: int, workflow_bytes: int, seed: int) -> None:
    found = []
    if not _NAME.search(out.name) and not out.is_dir():
        hint = "end it in .json or .jsonl, optionally followed by .gz or .zst"
        found.append(Mistake(str(out), "its name does not say its format", hint))
    if not 1 <= tasks <= _MOST_TASKS:
        found.append(Mistake("‹tasks›", f"{tasks} is not from 1 to {_MOST_TASKS}", "give a number in between"))
    if workflow_bytes < 0:
        found.append(Mistake("‹workflow_bytes›", f"{workflow_bytes} is below 0", "give 0 for no workflows, or more"))
    if seed < 0:
        found.append(Mistake("‹seed›", f"{seed} is below 0", "give 0 or more"))
    refuse(found)
