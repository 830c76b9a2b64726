"""A task library as people load it today: json.load, and the nearest to it where the format needs another call."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

WHOLE, LINES = "json", "json lines"
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma"}
"""The modules that open what begins so. What a worker does not need is not imported: its memory is measured."""
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"SQLite format 3\0": "SQLite",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"\xff\xff\xff\xff": "Arrow",
    b"prealloc-pool": "a task pool",
}


class Form(NamedTuple):
    """How to load a library; `name` is None if neither the standard library nor PyYAML can, for the reason `why`."""

    name: str | None
    why: str = ""


def form_of(path: str, tasks_field: str | None = None) -> Form:
    """Told by name, and by content where the name leaves it open."""
    if tasks_field is not None:
        return Form(None, "json.load gives a whole document, and not a list in it")
    if not os.path.isfile(path):
        return Form(None, "json.load reads one file")
    with open(path, "rb") as file:
        head = file.read(16)
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return Form(None, f"json.load cannot read {name}")
    if named := re.search(r"\.(jsonl|ndjson|csv|tsv|yaml|yml|toml)(\.(gz|bz2|xz))?\Z", path.lower()):
        return Form({"jsonl": LINES, "ndjson": LINES, "yml": "yaml"}.get(named[1], named[1]))
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
        document = _LOADERS[form or WHOLE](file)
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = document.get("tasks") or next(iter(lists), list(document.values()))
    tasks: list[dict[str, Any]] = document
    return tasks


def _lines(file: Any) -> Any:
    return [json.loads(line) for line in file if line.strip()]


def _table(dialect: str, file: Any) -> Any:
    import csv
    import io

    csv.field_size_limit(2**31 - 1)  # a workflow is more than the 128 kB that it allows
    with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, dialect=dialect))


def _yaml(file: Any) -> Any:
    import yaml

    return yaml.safe_load(file)


def _toml(file: Any) -> Any:
    import tomllib

    return tomllib.load(file)


_LOADERS: dict[str, Callable[[Any], Any]] = {
    WHOLE: json.load,
    LINES: _lines,
    "csv": partial(_table, "excel"),
    "tsv": partial(_table, "excel-tab"),
    "yaml": _yaml,
    "toml": _toml,
}


def _opened(path: str) -> Any:
    with open(path, "rb") as file:
        head = file.read(5)
    packing = next((packing for magic, packing in _PACKINGS.items() if head.startswith(magic)), None)
    return import_module(packing).open(path, "rb") if packing else open(path, "rb")
