"""What became of a unit, and of each try at it."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from prealloc.model.usage import Usage


class Status(enum.StrEnum):
    """The outcome of a unit. See FINAL for those that `resume` leaves alone."""

    OK = "ok"
    """The function returned JSON, whatever it says of the agent."""
    FAILED = "failed"
    """It raised anything but an infrastructure error, or returned what has no JSON form."""
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

PAYMENT_REQUIRED = 402
"""The HTTP status of a key whose money is used up: waiting does not help."""

FORBIDDEN = 403
"""The HTTP status of a key that may not do this; but also of moderation, and of pages that an agent visits."""

KEY_REFUSED = frozenset({UNAUTHORIZED, PAYMENT_REQUIRED, FORBIDDEN})
"""An ending that is `infra` with one of these is a refused key's."""

TOO_MANY_REQUESTS = 429
"""The HTTP status of a lane that is asked too much (RFC 6585): it pauses."""


class Answer(NamedTuple):
    """What came of a request that had its turn. Without any value: nothing is known, it may not have been sent."""

    came_through: bool = False
    http_status: int | None = None
    """Of an answer that was an error."""
    retry_after_s: float | None = None
    key_refused: bool = False
    """It says so itself: by its status, or a 403 by its body."""


MOST_MESSAGE = 500
"""Characters of an error's message in an event."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exception as text. No exception object ever crosses a process or reaches a file."""

    type: str
    message: str
    traceback: str | None = None
    http_status: int | None = None
    """What a server answered, if the error carries it."""

    def brief(self) -> ErrorInfo:
        """The same as events have it: without the traceback, and not longer than people read. The journal has all."""
        return msgspec.structs.replace(self, message=self.message[:MOST_MESSAGE], traceback=None)


STOPPED = ErrorInfo(type="Cancelled", message="the run was stopped while it ran")
"""Of what is `cancelled`."""

MOST_ATTEMPTS = 2**31
"""Of one unit. A larger number in a journal is damage, and would not fit where attempts are counted on."""

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A time that can be added up. Not from 0 on: differences of clocks may fall short of it by a rounding."""

_MOST_SCORE = 1e100
ScoreValue = Annotated[float, msgspec.Meta(ge=-_MOST_SCORE, le=_MOST_SCORE)]
"""A score that can be squared and added up."""


class AttemptInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How one try at a unit ended, without its result. Times are in seconds, memory in bytes.

    The journal, messages, events and folds all carry this, each with what it adds.
    """

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
    success: bool | None = None
    """What the result says of the agent, if it says so: see `verdict`."""
    score: ScoreValue | None = None
    unclear: str | None = None
    """The start of the result's `success` as JSON text, where that is neither yes nor no."""
    usage: Usage | None = None
    """Tokens by model, where they were counted."""
    lane: str | None = None
    """The lane that served it."""
    host: str | None = None
    """The host that it ran on; None: the machine of the master."""
    error: ErrorInfo | None = None


class Attempt(AttemptInfo, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finished try at a unit, with its result. Times are in seconds, memory in bytes."""

    late: bool = False
    """It ended after it had been written off: evidence, never an outcome."""
    again: bool = False
    """The unit is tried again in the same session: this decided nothing."""
    retry: Literal["infra", "lane"] | None = None
    """Why it is tried again. `lane`: its server has asked to come back later."""
    reused: str | None = None
    """The run folder this outcome was taken over from (`run --reuse`)."""
    result: Any = None
    """Any JSON."""


class Verdict(NamedTuple):
    """What a result says of the agent."""

    success: bool | None = None
    """None: it does not say."""
    score: float | None = None
    unclear: str | None = None
    """The start of its `success` as JSON text, where that is neither yes nor no."""


def verdict(result: Any) -> Verdict:
    """Its `success` if that is true, false, 1 or 0, and its `score` if that is a `ScoreValue`.

    Null is the same as absent.
    """
    if not isinstance(result, dict):
        return Verdict()
    success, score = result.get("success"), _number(result.get("score"))
    if success is None or isinstance(success, bool):
        return Verdict(success, score)
    if isinstance(success, int | float) and success in (0, 1):
        return Verdict(bool(success), score)
    return Verdict(None, score, _start(msgspec.json.encode(success).decode()))


class Successes(msgspec.Struct, kw_only=True):
    """What some units came to: the one definition of the success rate, for every screen and every file.

    The rate is over the units that are decided, by their first outcomes: `ok` with a success, of all but the `ok`
    ones whose success is not known. What failed, timed out, crashed or ran out of memory is in it, and no success.
    Without any result in the whole run that says success there is no rate: `ok` alone says nothing of the agent.
    """

    decided: int = 0
    """Units with a final outcome."""
    successes: int = 0
    """Units whose first outcome is `ok` with a success."""
    unknown: int = 0
    """Units whose first outcome is `ok`, and its result does not say whether that is a success: not in the rate."""
    unclear: int = 0
    """Units whose latest result has a `success` that is neither yes nor no."""
    example: str | None = None
    """One such `success`, as JSON text."""
    reported: bool = False
    """Whether any result says yes or no."""

    @property
    def rated(self) -> int:
        """The units that the rate is over."""
        return self.decided - self.unknown

    def rate(self, reported: bool) -> float | None:
        """Successes of `rated` units; None if no result of the whole run has `reported` success, or over no unit."""
        return self.successes / self.rated if reported and self.rated else None

    def count_first(self, status: Status, success: bool | None) -> None:
        """A unit's first outcome. One that is not final decides nothing."""
        if status in FINAL:
            self.decided += 1
            if status is Status.OK:
                self.successes += success is True
                self.unknown += success is None
        self.reported = self.reported or success is not None

    def count_latest(self, success: bool | None, unclear: str | None) -> None:
        """A unit's latest outcome; of most units it is the first one too, and counted as both."""
        self.reported = self.reported or success is not None
        if unclear is not None:
            self.unclear += 1
            self.example = self.example or unclear

    def add(self, other: Successes) -> None:
        """Other units, on top."""
        self.decided += other.decided
        self.successes += other.successes
        self.unknown += other.unknown
        self.unclear += other.unclear
        self.example = self.example or other.example
        self.reported = self.reported or other.reported


def _start(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _number(score: Any) -> float | None:
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return float(score) if abs(score) <= _MOST_SCORE else None
