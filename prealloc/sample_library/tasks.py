"""The tasks of the sample library, one at a time: task i depends on (seed, i) alone.

Their workflows are shaped and sized like those that agents' planners write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from prealloc.sample_library.stream import Stream, unique_32
from prealloc.sample_library.tools import PARAMETERS, PROTOCOLS, TOOL_NAMES, TOOLS

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

_PER_ACTION = 9_000
"""Bytes of workflow per step of the sequence: a step is described twice, search results fill up the rest."""

_STANDALONE_PERCENT = 93
"""Alone, a workflow of the published libraries is that much of what it is in the file, six blanks deeper."""

_NOTES = (
    "compare the size of the output with that of the input before going on",
    "keep the intermediate result, the next step reads it a second time",
    "if the answer is empty, ask once more with a wider condition",
    "write down which settings were used, the final report lists them",
    "do not start before the step it depends on has confirmed its end",
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
        made["workflow"] = _workflow(stream, task_type, tools, workflow_bytes)
    return made


def _workflow(stream: Stream, task_type: str, tools: list[str], size: int) -> dict[str, Any]:
    """A workflow of about `size` bytes as it lies in a file (and of some 900 at least)."""
    size = size * _STANDALONE_PERCENT // 100
    steps = max(1, min(8, size // _PER_ACTION))
    sequence = [*tools, *(stream.pick(TOOL_NAMES) for _ in range(8))][:steps]
    detailed = size >= _PER_ACTION
    made: dict[str, Any] = {
        "task_type": task_type,
        "optimal_sequence": sequence,
        "smart_workflow": [_action(stream, n, i, detailed) for i, n in enumerate(sequence, 1)],
        "execution_plan": {"stages": [[name] for name in sequence], "parallel": False},
        "error_handling": {name: {"retry": 2, "fallback": stream.pick(TOOL_NAMES)} for name in sequence},
        "success_probability": stream.score(),
        "critical_tools": sequence[:2],
        "algorithm": "sampled",
        "alternative_sequences": [stream.some(TOOL_NAMES, steps) for _ in range(3)],
        "smart_actions": [_action(stream, n, i, detailed) for i, n in enumerate(sequence, 1)] if detailed else [],
        "reasoning_steps": [],
        "rag_context": {},
    }
    _fill(stream, made, size - printed_size(made))
    return made


def printed_size(value: Any) -> int:
    """Bytes of a value printed with an indent of 2."""
    return len(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _fill(stream: Stream, made: dict[str, Any], left: int) -> None:
    """Adds search results, then notes, until `left` bytes are used."""
    context: dict[str, list[dict[str, Any]]] = made["rag_context"]
    found: list[dict[str, Any]] = []
    while left > 1_200:
        name = stream.pick(TOOL_NAMES)
        found.append(_result(stream, name, len(found)))
        left -= _RESULT_SIZES[name]
        if len(found) == 5:
            context[f"step_{len(context)}"], found = found, []
    if found:
        context[f"step_{len(context)}"] = found
    notes = made["reasoning_steps"]
    while left > 40:
        notes.append(f"Note {len(notes) + 1}: {stream.pick(_NOTES)}")
        left -= len(notes[-1]) + 8


def _action(stream: Stream, name: str, step: int, detailed: bool) -> dict[str, Any]:
    action: dict[str, Any] = {
        "tool_name": name,
        "step": step,
        "search_source": "embedding",
        "semantic_score": stream.score(),
        "confidence": stream.score(),
        "dependencies": TOOLS[name]["dependencies"],
    }
    if detailed:
        action["alternatives"] = [
            {"tool_name": other, "score": stream.score(), "operation": other.rpartition("_")[2]}
            for other in stream.some(TOOL_NAMES, 4)
        ]
        action["reasoning"] = f"Closest in meaning to step {step}: {TOOLS[name]['description']}"
        action["expected_outcome"] = {}
        action["mcp_protocol"] = PROTOCOLS[name]
    return action


def _result(stream: Stream, name: str, rank: int) -> dict[str, Any]:
    return {
        "tool_name": name,
        "score": stream.score(),
        "reason": TOOLS[name]["description"],
        "parameters": PARAMETERS[name],
        "rank": rank,
    }


# As they stand in a workflow, six blanks deeper than alone.
_RESULT_SIZES = {
    name: len(text) + 6 * (text.count(b"\n") + 1) + 2
    for name in TOOL_NAMES
    for text in [msgspec.json.format(msgspec.json.encode(_result(Stream(0), name, 0)), indent=2)]
}
