"""What a file says, read without prealloc: the standard library's parsers, and rules spelled a second time.

Each returns why the file could not have been accepted as it was; nothing if it could. They are asked only about files
that prealloc took.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATUSES = {"ok", "failed", "timeout", "crashed", "out_of_memory", "infra", "cancelled"}
FINAL = {"ok", "failed", "timeout", "crashed", "out_of_memory"}


SPEC_DEFAULTS: dict[str, Any] = {
    "shards": 1, "num_instances": 20, "per_type": False, "quotas": {}, "stratify": False, "whole": False, "types": [],
    "strategy": "disjoint", "repeats": 1, "seed": 0, "keep": [], "settings": {},
    "lanes": [], "factors": {}, "exclude": [], "num_instances_per_cell": None,
}  # fmt: skip
"""A spec that leaves one of these away says the same."""


def strict(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for duplicate keys, numbers that are not finite, half pairs."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in found}) < len(found):
            raise ValueError("a key twice")
        return dict(found)

    def refuse(text: str) -> Any:
        raise ValueError(text)

    def real(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(text)
        return value

    value = json.loads(raw.decode(), object_pairs_hook=pairs, parse_constant=refuse, parse_float=real)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def plan_file(raw: bytes, good: bytes) -> str | None:
    """plan.json: the same as it was, but for what it says of its library."""
    found, planned = strict(raw), strict(good)
    for name, default in SPEC_DEFAULTS.items():
        found["spec"].setdefault(name, default)
    found.setdefault("ranking", planned["ranking"])
    libraries = found.pop("libraries")
    planned.pop("libraries")
    if json.dumps(found, sort_keys=True) != json.dumps(planned, sort_keys=True):
        return "it is another plan"
    for library in libraries:
        if any(not isinstance(library[name], int) or library[name] < 0 for name in ("bytes", "tasks")):
            return "its library has odd counts"
    return None


def the_same(raw: bytes, good: bytes) -> str | None:
    """Manifests and slices: their digests allow no other byte."""
    return None if raw == good else "other bytes"


def run_file(raw: bytes, good: bytes) -> str | None:
    """run.json: the same plan, and a policy within its bounds."""
    found, planned = strict(raw), strict(good)
    policy = found["policy"]
    if found.keys() - planned.keys() or policy.keys() - planned["policy"].keys():
        return "unknown fields"
    if found["plan"] != planned["plan"] or found.get("version", 1) != 1:
        return "another plan, or version"
    wide = {
        "concurrency": (1, 10_000),
        "retries": (0, 1000),
        "max_result_bytes": (1, 16 * 2**20),
        "workers": (1, 10**5),
    }
    wide |= dict.fromkeys(("timeout_s", "max_wait_s", "drain_s", "grace_s", "start_s"), (0, 366 * 86400))
    for name, (least, most) in wide.items():
        value = policy.get(name)
        if value is None and (name not in policy or name in ("workers", "timeout_s")):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            return f"{name} is {value!r}"
    if not all(isinstance(folder, str) and folder.startswith("/") for folder in found["import_path"]):
        return "import_path"
    return None


def journal(folder: Path, units: set[tuple[str, str, int]]) -> dict[str, int] | str:
    """The census of a journal, folded a second time; or why there is none."""
    status = dict.fromkeys(units, "not_run")
    number = dict.fromkeys(units, 0)
    is_open = dict.fromkeys(units, True)
    for session, _, path in sorted(_names(folder)):
        for raw in path.read_bytes().split(b"\n")[:-1]:
            line = strict(raw)
            if "kind" in line:
                if not path.name.startswith("supervisor."):
                    return "a record in a worker's file"
                if line["kind"] == "session" and line["session"] != session:
                    return "another session"
                if line["kind"] == "session" and line["reopen_failed"]:
                    is_open |= {unit: True for unit in units if status[unit] in FINAL - {"ok"}}
                if line["kind"] == "reopened":
                    again = {tuple(unit) for unit in line["units"]}
                    if not again <= units:
                        return "a unit is open again that is none"
                    is_open |= {unit: True for unit in again if status[unit] in FINAL - {"ok"}}
                if line["kind"] == "death" and (line["shard"], line["task"], line["repeat"]) not in units:
                    return "a death of no unit"
                continue
            unit = (line["shard"], line["task"], line["repeat"])
            if unit not in units or line["status"] not in STATUSES:
                return f"no unit {unit}, or no status {line['status']}"
            if not 1 <= line["attempt"] <= 2**31:
                return f"attempt {line['attempt']}"
            if line.get("late", False):
                continue
            if line["status"] in FINAL:
                if is_open[unit]:
                    status[unit], is_open[unit] = line["status"], False
            elif status[unit] not in FINAL and line["attempt"] > number[unit]:
                status[unit], number[unit] = line["status"], line["attempt"]
    return {name: sum(found == name for found in status.values()) for name in (*STATUSES, "not_run")}


def _names(folder: Path) -> Iterator[tuple[int, str, Path]]:
    for path in folder.iterdir():
        parts = path.name.split(".")
        supervisor = parts[0] == "supervisor" and len(parts) == 3
        yield int(parts[1 if supervisor else -3]), "" if supervisor else path.name, path


def library(text: str, *, lines: bool) -> list[tuple[str, str, str]]:
    """(id, type, workflow as sorted JSON) of every task."""
    if lines:
        tasks = list(_stream(text))
    else:
        tasks = json.loads(text)
        if isinstance(tasks, dict) and "tasks" not in tasks:  # its only list of objects
            (tasks,) = (
                each for each in tasks.values() if isinstance(each, list) and each and isinstance(each[0], dict)
            )
        elif isinstance(tasks, dict):
            tasks = tasks["tasks"]
    types = [task.get("task_type", task.get("type")) for task in tasks]
    if not any(types):  # then all are of one
        types = ["task"] * len(tasks)
    return [
        (task.get("id", task.get("instance_id")), type, json.dumps(task.get("workflow"), sort_keys=True))
        for task, type in zip(tasks, types, strict=True)
    ]


def _stream(text: str) -> Iterator[Any]:
    """Values one after the other: a task may also be spread over lines, that is no other library."""
    at, space = 0, " \t\r\n"
    while text[at:].strip(space):
        at += len(text[at:]) - len(text[at:].lstrip(space))
        value, at = json.JSONDecoder().raw_decode(text, at)
        yield value


def config(raw: bytes) -> dict[str, Any]:
    """The sections of a config."""
    return tomllib.loads(raw.decode())
