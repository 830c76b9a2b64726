"""Turns what a worker says of an attempt into the event that reporters see."""

from __future__ import annotations

from prealloc.model.events import AttemptEnded, AttemptStarted
from prealloc.worker.messages import Ended, Started


def attempt_started(shard: str, task: tuple[str, str], message: Started | Ended) -> AttemptStarted:
    """`task` is (id, type)."""
    return AttemptStarted(shard=shard, task=task[0], repeat=message.repeat, attempt=message.attempt)


def attempt_ended(shard: str, task: tuple[str, str], message: Ended) -> AttemptEnded:
    """`task` is (id, type). An ending that is tried again is no outcome yet."""
    return AttemptEnded(
        shard=shard,
        task=task[0],
        type=task[1],
        repeat=message.repeat,
        attempt=message.attempt,
        status=message.status,
        outcome=message.again is None,
        working_s=message.working_s,
        waiting_s=message.waiting_s,
        success=message.success,
        score=message.score,
        unclear=message.unclear,
        error=message.error,
    )
