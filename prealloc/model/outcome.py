"""What became of a unit, and of each try at it."""

from __future__ import annotations

import enum
from typing import Annotated, Any

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


UNAUTHORIZED = 401
"""The HTTP status of a key that is refused: it will be refused again, so its lane starts no further task."""

TOO_MANY_REQUESTS = 429
"""The HTTP status of a lane that is asked too much (RFC 6585): it pauses."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exception as text. No exception object ever crosses a process or reaches a file."""

    type: str
    message: str
    traceback: str | None = None
    http_status: int | None = None
    """What a server answered, if the error carries it."""


STOPPED = ErrorInfo(type="Cancelled", message="the run was stopped while it ran")
"""Of what is `cancelled`."""

MOST_ATTEMPTS = 2**31
"""Of one unit. A larger number in a journal is damage, and would not fit where attempts are counted on."""

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A time that can be added up. Not from 0 on: differences of clocks may fall short of it by a rounding."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finished try at a unit: one line of the journal. Times are in seconds, memory in bytes."""

    shard: str
    task: str
    repeat: int
    attempt: Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]
    """1 for the first try at this unit in the whole run, over all resumes."""
    status: Status
    started_at: Seconds
    """Wall clock, seconds since 1970; only for people, nothing is computed from it."""
    queued_s: Seconds
    """From the worker being ready for the unit to its start."""
    waiting_s: Seconds
    """For rate limits and backoff, since the unit's first attempt of this session."""
    working_s: Seconds
    """What --timeout bounds: from start to end, less the waiting in between."""
    peak_rss: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
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
        _number(score),
    )


def _number(score: Any) -> float | None:
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    try:
        return float(score)
    except OverflowError:  # an integer of hundreds of digits
        return None
