"""What became of a unit, and of each try at it."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Status(enum.StrEnum):
    """The outcome of a unit. See FINAL for those that `resume` leaves alone."""

    OK = "ok"
    """The function returned JSON, whatever it says of the agent."""
    FAILED = "failed"
    """It raised anything but an infrastructure error."""
    TIMEOUT = "timeout"
    """It worked longer than --timeout."""
    CRASHED = "crashed"
    """It killed its worker, twice, when alone in it."""
    OUT_OF_MEMORY = "out_of_memory"
    """It pushed its worker over the memory limit."""
    INFRA = "infra"
    """Infrastructure failed until the retries were used up, or the wait was over --max-wait."""
    CANCELLED = "cancelled"
    """It was running when the run was stopped."""
    NOT_RUN = "not_run"
    """No attempt was made, or none that was not to be tried again."""


FINAL = frozenset({Status.OK, Status.FAILED, Status.TIMEOUT, Status.CRASHED, Status.OUT_OF_MEMORY})
"""These stand for good, unless `resume --failed` opens the ones that are not ok."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exception as text. No exception object ever crosses a process or reaches a file."""

    type: str
    message: str
    traceback: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finished try at a unit: one line of the journal. Times are in seconds, memory in bytes."""

    shard: str
    task: str
    repeat: int
    attempt: int
    """1 for the first try at this unit in the whole run, over all resumes."""
    status: Status
    started_at: float
    """Wall clock, seconds since 1970; only for people, nothing is computed from it."""
    queued_s: float
    """From the worker being ready for the unit to its start."""
    waiting_s: float
    """For rate limits and backoff, since the unit's first attempt of this session."""
    working_s: float
    """What --timeout bounds: from start to end, less the waiting in between."""
    peak_rss: int
    """The most memory that the worker process has held so far."""
    error: ErrorInfo | None = None
    result: Any = None
    """Any JSON."""
    late: bool = False
    """It ended after it had been written off: evidence, never an outcome."""
    again: bool = False
    """The unit is tried again in the same session: this decided nothing."""
    reused: str | None = None
    """The run folder this outcome was taken over from (`run --reuse`)."""


def verdict(result: Any) -> tuple[bool | None, float | None]:
    """What a result says of the agent: its `success` if that is a bool, its `score` if that is a number."""
    if not isinstance(result, dict):
        return None, None
    success, score = result.get("success"), result.get("score")
    return (
        success if isinstance(success, bool) else None,
        float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None,
    )
