"""The smallest useful worker function: one task in, one JSON value out."""

from prealloc import LightweightTask, TaskContext


def solve(task: LightweightTask, ctx: TaskContext) -> dict[str, object]:
    """Called once for each task, in a worker process that holds nothing but its own tasks."""
    steps = task.workflow["optimal_sequence"] if task.workflow else []
    ctx.log(f"{task.id}: {len(steps)} steps for {ctx.settings.get('model', 'no model')}")
    # ... ask the model here, with timeout=ctx.remaining_s ...
    return {"success": len(steps) > 0, "score": 1.0, "steps": len(steps)}
