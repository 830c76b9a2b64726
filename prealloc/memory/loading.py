"""A task library as people load it today: json.load, and the nearest to it where the format needs another call."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any, NamedTuple

WHOLE, LINES = "json", "json lines"
_LINES_NAMES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"SQLite format 3\0": "SQLite",
    b"PAR1": "Parquet",
    b"prealloc-pool": "a task pool",
}
_GZIP = b"\x1f\x8b"


class Form(NamedTuple):
    """How to load a library; `name` is None if the standard library's json cannot, for the reason `why`."""

    name: str | None
    why: str = ""


def form_of(path: str) -> Form:
    """Told by content; a name in .jsonl or .ndjson decides where the content leaves it open."""
    if os.path.isdir(path):
        return Form(None, "json.load cannot read a folder")
    with open(path, "rb") as file:
        head = file.read(16)
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return Form(None, f"json.load cannot read {name}")
    if path.lower().endswith(_LINES_NAMES):
        return Form(LINES)
    try:
        with _opened(path) as lines:
            first = json.loads(next(lines))
            more = any(line.strip() for line in lines)
    except (StopIteration, ValueError):  # {"tasks": [ in the first line, the tasks in others
        return Form(WHOLE)
    is_lines = isinstance(first, dict) and ("tasks" not in first or "id" in first or "instance_id" in first) and more
    return Form(LINES if is_lines else WHOLE)


def load_tasks(path: str, form: str | None) -> list[dict[str, Any]]:
    """Every task with all its fields, as objects."""
    with _opened(path) as file:
        if form == LINES:
            return [json.loads(line) for line in file if line.strip()]
        document = json.load(file)
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = document.get("tasks") or next(iter(lists), list(document.values()))
    tasks: list[dict[str, Any]] = document
    return tasks


def _opened(path: str) -> Any:
    with open(path, "rb") as file:
        packed = file.read(2) == _GZIP
    return gzip.open(path, "rb") if packed else open(path, "rb")
