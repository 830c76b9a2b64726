"""What a plan can show, whatever comes out."""

from __future__ import annotations

from prealloc.model.plan import Plan
from prealloc.statistics.size import Precision, precision


def precision_of_plan(plan: Plan) -> Precision | None:
    """The precision of its smallest cell: repeats, and the shards of one cell, do not make it another task."""
    tasks: dict[tuple[tuple[str, object], ...], set[str]] = {}
    for shard in plan.shards:
        tasks.setdefault(tuple(shard.manifest.cell.items()), set()).update(task.id for task in shard.tasks)
    least = min(map(len, tasks.values()), default=0)
    return precision(least) if least else None
