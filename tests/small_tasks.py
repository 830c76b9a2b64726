"""A few tasks as people have them, and what a plan of them is known by."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prealloc.api.plans import plan
from prealloc.errors import LibraryError
from prealloc.model.plan import Plan
from prealloc.report.page import wrapped

TASKS: list[dict[str, Any]] = [
    {"task_id": f"t{n}", "category": "ab"[n % 2], "n": n, "meta": {"uid": f"u{n}", "kind": ["x", "y"]}}
    for n in range(6)
]


def lines(path: Path, tasks: list[Any]) -> Path:
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return path


def planned(library: Any, **options: Any) -> Plan:
    return plan(library, shards=2, num_instances=2, **options)


def essence(made: Plan) -> tuple[Any, ...]:
    return made.id, made.slices, made.file.shards


def whole_essence(made: Plan) -> tuple[Any, ...]:
    """What two plans of the same libraries must have in common, in whichever formats these are."""
    numbers = [(info.tasks, info.types) for info in made.file.libraries]
    return *essence(made), [shard.manifest for shard in made.shards], numbers


def offered_pattern(error: LibraryError) -> str:
    """The pattern that a refusal offers first, as a shell reads it."""
    _, word = re.split("such as |all of a kind: |all of them: ", str(error.hint), maxsplit=1)
    return shlex.split(re.split("(?<=')(?:; or | or )", word)[0])[0]


def offered_place(error: LibraryError) -> dict[str, str]:
    """The place of the tasks that a refusal offers first, as an option; nothing where it offers none."""
    _, found, word = str(error.hint).partition("‹tasks_field› ")
    return {"tasks_field": shlex.split(re.split("(?:, and| or) ‹|\n", word)[0])[0]} if found else {}


def obeyed(error: LibraryError, folder: Path, path: Path) -> Path:
    """What the command in a hint wrote into the folder."""
    command = re.search(r": ((?:python3|iconv|zcat|find|cat|mkdir|tail) .+)", str(error.hint))
    assert command is not None
    assert command[1] in wrapped(str(error.hint), 30)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["sh", "-c", command[1]], check=True, cwd=folder, env={**os.environ, "PATH": paths})
    (fixed,) = (each for each in folder.iterdir() if each.name != path.name)
    return fixed


@contextmanager
def piped(content: bytes) -> Iterator[None]:
    """Standard input is a file with this."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        before = os.dup(0)
        try:
            os.dup2(file.fileno(), 0)
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)
