"""An agent without a model: walks the workflow, calls each tool with a chance of success, sleeps a little.

For demos, dry runs and tests. Settings (all optional, `prealloc plan --set NAME=VALUE`):

    tool_success_rate   chance in [0, 1] that one call of a tool works     0.9
    tool_seconds        mean seconds that one call takes                   0.01
    tool_retries        further calls of a tool that failed                1
"""

from __future__ import annotations

import random
import time
from typing import Any, Protocol

from prealloc.model.task import LightweightTask


class _Context(Protocol):
    """What this agent needs of the context: agents know nothing of the worker room."""

    settings: dict[str, Any]
    seed: int


def run(task: LightweightTask, ctx: _Context) -> dict[str, Any]:
    """Calls the workflow's tools in order. Never raises for a failed tool: it says so in its result.

    Returns `success` (every tool worked), `score` (share of the tools that worked), the calls made, and the
    tool that ended it, if one did. The same unit gives the same result every time: chance is drawn from
    ctx.seed.
    """
    rate = float(ctx.settings.get("tool_success_rate", 0.9))
    seconds = float(ctx.settings.get("tool_seconds", 0.01))
    retries = int(ctx.settings.get("tool_retries", 1))
    draw = random.Random(ctx.seed)
    tools = tools_of(task.workflow)
    calls = 0
    worked = 0
    for tool in tools:
        for _ in range(retries + 1):
            calls += 1
            time.sleep(seconds * draw.uniform(0.5, 1.5))
            if draw.random() < rate:
                worked += 1
                break
        else:
            return _result(tools, calls, worked, failed_tool=tool)
    return _result(tools, calls, worked, failed_tool=None)


def tools_of(workflow: Any) -> list[str]:
    """The names of the tools that a workflow calls, in order; a task without a workflow calls none."""
    if not isinstance(workflow, dict):
        return []
    sequence = workflow.get("optimal_sequence")
    if isinstance(sequence, list):
        return [str(tool) for tool in sequence]
    for name in ("smart_actions", "smart_workflow"):
        actions = workflow.get(name)
        if isinstance(actions, list):
            return [str(step.get("tool_name")) for step in actions if isinstance(step, dict)]
    return []


def _result(tools: list[str], calls: int, worked: int, *, failed_tool: str | None) -> dict[str, Any]:
    return {
        "success": failed_tool is None,
        "score": round(worked / len(tools), 4) if tools else 1.0,
        "calls": calls,
        "failed_tool": failed_tool,
    }
