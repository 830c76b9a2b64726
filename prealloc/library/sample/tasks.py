"""The tasks of the sample library, one at a time: task i depends on (seed, i) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prealloc.library.sample.stream import Stream, unique_32
from prealloc.library.sample.tools import TOOL_NAMES, TOOLS
from prealloc.library.sample.workflow import workflow

SHARES = {
    "data_pipeline": 190,
    "api_integration": 170,
    "basic_task": 150,
    "multi_stage_pipeline": 80,
    "simple_task": 40,
}
"""How many of 630 tasks are of each type."""

_TOOLS_PER_TYPE = {
    "data_pipeline": 4,
    "api_integration": 3,
    "basic_task": 3,
    "multi_stage_pipeline": 6,
    "simple_task": 1,
}
_SUBJECTS = ("orders", "sensor readings", "support tickets", "invoices", "survey answers", "delivery routes")
_GOALS = (
    "a summary that a person can read in a minute",
    "a clean table for the monthly report",
    "a list of everything that breaks the rules",
    "one file per customer",
    "a feed that another team picks up",
)


def type_order() -> Iterator[str]:
    """Types in an endless even order: after any number of tasks, each type has its share to within one.

    Always the type that lags most behind its share comes next, so a longer sample starts like a shorter one.
    """
    total = sum(SHARES.values())
    behind = dict.fromkeys(SHARES, 0)
    while True:
        for name, share in SHARES.items():
            behind[name] += share
        chosen = max(behind, key=lambda name: behind[name])
        behind[chosen] -= total
        yield chosen


def task(seed: int, index: int, task_type: str, workflow_bytes: int) -> dict[str, Any]:
    """Task `index`, as a library spells it; without a workflow if `workflow_bytes` is 0."""
    stream = Stream(seed, "task", index)
    tools = stream.some(TOOL_NAMES, _TOOLS_PER_TYPE[task_type])
    subject, goal = stream.pick(_SUBJECTS), stream.pick(_GOALS)
    records = 50 + stream.below(950)
    made: dict[str, Any] = {
        "instance_id": f"task_{unique_32(seed, index):08x}",
        "task_type": task_type,
        "description": f"Take {records} {subject} through {', '.join(tools)}. The goal: {goal}.",
        "inputs": {
            "source": f"input/{subject.replace(' ', '_')}.csv",
            "options": {"records": records, "strict": stream.below(2) == 1},
        },
        "expected_outputs": {
            "done": True,
            "metadata": {"total_records": records, "kept_records": stream.below(records)},
        },
        "required_tools": tools,
        "constraints": {"timeout": 300, "max_retries": 3},
        "complexity": "easy" if len(tools) < 4 else "medium",
        "metadata": {"template": task_type, "type": "sample", "index": index, "timeout": 300},
        "original_description": " ".join(TOOLS[name]["description"] for name in tools),
        "difficulty_level": "easy",
        "enhanced": False,
    }
    if workflow_bytes:
        made["workflow"] = workflow(stream, task_type, tools, workflow_bytes)
    return made
