"""An agent of which the truth is known: see test_planted_truth.py."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import prealloc

SALT = 251
"""By it, what is equal is nearly equal in this sample too: a false claim would be a fault, not bad luck."""


def chance(*parts: object) -> float:
    """A number from 0 to 1, always the same for the same parts."""
    text = "/".join(map(str, (SALT, *parts)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def hardness(task: str) -> float:
    return int.from_bytes(blake2b(f"hardness/{task}".encode(), digest_size=8).digest(), "big") / 2**64


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> Any:
    """`better` solves more tasks of type math, and no others. What fails and is run again draws anew."""
    model = ctx.settings["model"]
    unit = (task.id, model, ctx.settings["prompt"], ctx.repeat)
    if ctx.settings["deployment"] == "ill" and chance("infra", *unit, ctx.attempt) < 0.4:
        raise prealloc.Retryable("503 from https://ill.example/v1: upstream reset")
    able = 0.15 + 0.7 * hardness(task.id)
    if task.type == "math":
        able = 0.92 if model == "better" else 0.3
    solved = chance("solve", *unit, ctx.attempt) < able
    if not solved and chance("how", *unit) < 0.5:
        raise AssertionError(f"{1 + int(9 * chance('tests', *unit))} of 9 tests failed")
    return {"success": solved, "turns": 3 + int(5 * chance("turns", *unit))}
