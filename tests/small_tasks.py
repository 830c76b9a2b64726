"""A few tasks as people have them, and what a plan of them is known by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prealloc.api.plans import plan
from prealloc.model.plan import Plan

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
