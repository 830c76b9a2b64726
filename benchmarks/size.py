"""How large a bench is."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Everything that may be smaller in a smoke test."""

    library_tasks: int
    workflow_bytes: int
    workers: int
    tasks: int
    """Of each worker in scenario "start"."""
    rounds: int
    slow_rounds: int
    """Of the way in which every worker loads the library itself."""
    pairs: int
    """Of scenario "plan"."""
    noop_tasks: int
    noop_workers: int
    noop_chunk: int
    tail_s: float
    """Work of each worker in scenario "tail", in a round."""
    tail_rounds: int


FULL = Size(
    library_tasks=630,
    workflow_bytes=84_000,
    workers=25,
    tasks=20,
    rounds=3,
    slow_rounds=2,
    pairs=9,
    noop_tasks=100_000,
    noop_workers=2,
    noop_chunk=100,
    tail_s=4.0,
    tail_rounds=8,
)
QUICK = Size(
    library_tasks=60,
    workflow_bytes=8_000,
    workers=3,
    tasks=4,
    rounds=1,
    slow_rounds=1,
    pairs=1,
    noop_tasks=1_000,
    noop_workers=2,
    noop_chunk=100,
    tail_s=0.5,
    tail_rounds=1,
)
