"""The smallest useful worker function: one task in, one JSON value out."""

import random

from prealloc import LightweightTask, TaskContext


def solve(task: LightweightTask, ctx: TaskContext) -> dict[str, object]:
    """Called once for each task, in a worker process that holds nothing but its own tasks."""
    steps = task.workflow["optimal_sequence"] if task.workflow else []
    ctx.log(f"{task.id}: {len(steps)} steps for {ctx.settings.get('model', 'no model')}")
    # ... ask the model here, with timeout=ctx.remaining_s; a coin stands for it: four steps in five go well ...
    draw = random.Random(ctx.seed)
    went_well = sum(draw.random() < 0.8 for _ in steps)
    return {"success": went_well == len(steps), "score": went_well / max(1, len(steps)), "steps": len(steps)}
