"""The worker function that prealloc's own engine runs to be measured: keeps its tasks, reads them until released."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prealloc.memory.child import FIRST, READY, keep_reading, mark, read_job, walk

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask
    from prealloc.worker.context import TaskContext


def hold(task: LightweightTask, ctx: TaskContext) -> int:
    """Reads a task; at this worker's last one it goes on with all of them, as running on would: decoded anew each time.

    What attempts get is freed when they end. Here it is kept, which costs nothing: the bytes are those of the slice.
    """
    seen = _read(task)
    held = _held(ctx.shard)
    held.append(task.fresh())
    if len(held) == 1:
        mark(FIRST)
    if len(held) == read_job().tasks:
        mark(READY)
        keep_reading(held, _read)
    return seen


def _read(task: LightweightTask) -> int:
    return walk(task.fresh().workflow)


@cache
def _held(shard: str) -> list[LightweightTask]:
    return []
