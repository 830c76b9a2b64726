"""Whether a task is tried again, and when: a decision, not a loop."""

from __future__ import annotations

from typing import NamedTuple

from prealloc.model.policy import MOST_THROTTLED, RunPolicy

BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0


class Again(NamedTuple):
    """Try again, at the earliest after this many seconds."""

    after_s: float


class Stop(NamedTuple):
    """Do not try again: why."""

    reason: str


def decide_retry(
    policy: RunPolicy, *, tries: int, throttled: int, waited_s: float, at_least_s: float | None, jitter: float
) -> Again | Stop:
    """What follows an infrastructure error: exponential backoff with full jitter.

    Of the unit's attempts in this session so far, the server asked `throttled` of them to come back later, and `tries`
    failed otherwise. To be throttled is not a failure and uses no retry (but with 0 retries nothing is tried again).
    `waited_s` is its waiting time so far, `at_least_s` what the server asked for (Retry-After), `jitter` a number in
    [0, 1). A wait asked for by the server is a floor that jitter only adds to, so that siblings do not come back all
    at once.
    Source of the formula: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if tries > policy.retries:
        return Stop(f"{policy.retries} retries used up")
    if throttled > (MOST_THROTTLED if policy.retries else 0):
        return Stop(f"told to come back later {throttled} times")
    ceiling = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (tries + throttled - 1))
    after_s = ceiling * jitter if at_least_s is None else at_least_s + ceiling * jitter
    if waited_s + after_s > policy.max_wait_s:
        return Stop(f"waiting {waited_s + after_s:.1f} s would pass the max_wait of {policy.max_wait_s:g} s")
    return Again(after_s)
