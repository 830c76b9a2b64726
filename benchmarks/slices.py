"""The slices of scenario "start", for those ways that make them by hand: the same tasks as in prealloc's plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Task = dict[str, Any]


def load_whole(library: Path) -> dict[str, Task]:
    """The usual way to read a task library: all of it, into plain objects."""
    with library.open("rb") as file:
        return {task["instance_id"]: task for task in json.load(file)["tasks"]}


def cut(tasks: dict[str, Task], ids: list[str]) -> list[Task]:
    """One worker's tasks with the three fields that prealloc ships; shipping all fields would only cost more."""
    return [{name: tasks[id][name] for name in ("instance_id", "task_type", "workflow")} for id in ids]


def read_ids(path: Path) -> list[list[str]]:
    """Task ids by worker, as the harness wrote them from the plan."""
    ids: list[list[str]] = json.loads(path.read_bytes())
    return ids
