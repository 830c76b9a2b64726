"""Events and journal lines of a run that is not there: what a test does not say of them does not matter to it."""

from __future__ import annotations

from typing import Any

from prealloc.model.events import AttemptEnded, RunStarted, ShardInfo
from prealloc.model.outcome import Status
from prealloc.store.journal_lines import AttemptLine


def shard_info(id: str, units: int = 1, **more: Any) -> ShardInfo:
    return ShardInfo(**{"id": id, "units": units, "settings": {}, "done": {}} | more)


def run_started(*shards: ShardInfo, **more: Any) -> RunStarted:
    fields = {"run": "run/", "plan": "p", "engine": "local", "workers": 1, "concurrency": 1, "bound_s": None}
    return RunStarted(**fields | {"shards": shards, "guards_library": True} | more)


def attempt_ended(shard: str = "s", task: str = "t", status: Status = Status.OK, **more: Any) -> AttemptEnded:
    return AttemptEnded(**_attempt(shard, task, status) | {"type": "t", "outcome": True} | more)


def attempt_line(shard: str = "s", task: str = "t", status: Status = Status.OK, **more: Any) -> AttemptLine:
    return AttemptLine(**_attempt(shard, task, status) | more)


def _attempt(shard: str, task: str, status: Status) -> dict[str, Any]:
    times = {"started_at": 1.0, "queued_s": 0.0, "waiting_s": 0.0, "working_s": 1.0, "peak_rss": 1}
    return {"shard": shard, "task": task, "repeat": 0, "attempt": 1, "status": status, **times}
