"""Limits of a whole run: when they are reached, what is said, and how a resume goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Type
from hypothesis import given
from hypothesis import strategies as st
from run_events import attempt_ended

import prealloc
from prealloc.engines.bound import LaneLoad, ShardWork, bound_s
from prealloc.engines.limits import RunLimits
from prealloc.model.events import AttemptEnded
from prealloc.model.outcome import Status
from prealloc.model.policy import RunPolicy

ENDED = [status for status in Status if status is not Status.NOT_RUN]


def event(status: Status, *, outcome: bool = True) -> AttemptEnded:
    return attempt_ended(status=status, outcome=outcome)


def limits(now: float = 0.0, **options: Any) -> RunLimits:
    return RunLimits(RunPolicy.checked(**options), 0.0, lambda: now)


@given(st.lists(st.tuples(st.sampled_from(ENDED), st.booleans())), st.integers(1, 8), st.integers(1, 100))
def test_what_counts(ended: list[tuple[Status, bool]], most: int, percent: int) -> None:
    """A unit counts when it has its outcome in this session, unless the user stopped it; all but ok are failures.

    A number is reached by as many failures; a share by that share of at least twenty.
    """
    by_number, by_share = limits(max_failures=most), limits(max_failures=f"{percent}%")
    for status, outcome in ended:
        for each in (by_number, by_share):
            each.count(event(status, outcome=outcome))
    counted = [status for status, outcome in ended if outcome and status is not Status.CANCELLED]
    failures = sum(status is not Status.OK for status in counted)
    assert (by_number.reached() is not None) == (failures >= most)
    over = len(counted) >= 20 and failures and failures * 100 >= percent * len(counted)
    assert (by_share.reached() is not None) == bool(over)


def test_the_reason_names_the_limit_and_the_numbers() -> None:
    """With how many units ended, how many are not ok, and of which kinds."""
    full = limits(max_failures=3)
    for status in (Status.OK, Status.INFRA, Status.FAILED, Status.FAILED):
        full.count(event(status))
    assert full.reached() == "3 of the 4 units that ended are not ok (2 failed, 1 infra), max-failures is 3"
    assert limits(now=3599.9, max_time_s="1h").reached() is None
    assert limits(now=3600.0, max_time_s="1h").reached() == "max-time 1h is over"
    assert limits(now=1e9).reached() is None


@pytest.mark.parametrize("given", [0, "0%", "101%", True, 2.5, "many"])
def test_wrong_values_are_refused(given: Any) -> None:
    """A limit that could not be reached, or would be at once, is a mistake."""
    with pytest.raises(prealloc.OptionsError, match="max_failures"):
        RunPolicy.checked(max_failures=given)


def test_a_bound_knows_max_time() -> None:
    """After it only what runs may end: the bound is no more than that, and never larger than without."""
    load = [LaneLoad([ShardWork({600.0: 1000}, 1)] * 10, 1)]
    whole = bound_s(RunPolicy.checked(), load)
    limited = bound_s(RunPolicy.checked(max_time_s=60), load)
    assert whole is not None
    assert limited is not None
    assert 60 + 600 + 3600 < limited < 60 + 600 + 3600 + 200 < whole
    few = [LaneLoad([ShardWork({600.0: 1}, 1)], 1)]
    assert bound_s(RunPolicy.checked(max_time_s=1e7), few) == bound_s(RunPolicy.checked(), few)


WORKER = """
def solve(task, ctx):
    if int(task.id[1:]) >= 6:
        raise ValueError(task.id)
    return {"success": True}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type) -> None:
    tasks = [{"id": f"t{i}", "type": "a", "workflow": {}} for i in range(12)]
    Path("tasks.json").write_text(json.dumps({"tasks": tasks}))
    Path("limits_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    prealloc.plan("tasks.json", out="plan", whole=True, shards=3)


def test_every_screen_says_why_nothing_starts(plan: None, type_: Type, capsys: Any) -> None:
    """The end, `status`, --quiet and --json have the reason; exit code 1; resume has the whole limit again."""
    words = ("run", "plan", "--worker", "limits_worker:solve", "--engine", "inline", "--max-failures", "2")
    done = type_(*words, "--out", "run")
    reason = "units that ended are not ok (2 failed), max-failures is 2"
    assert done.code == 1
    assert f"{reason}: no further task starts; what runs may end" in done.out
    assert [line for line in done.out.splitlines() if line.startswith("stopped ") and reason in line]
    assert f"no further task starts: 2 of the {sum_of('run')} {reason}" in type_("status", "run").out
    assert reason in type_(*words, "--out", "quiet", "--quiet").err
    events = [json.loads(line) for line in type_(*words, "--out", "json", "--json").out.splitlines()]
    assert [each["event"] for each in events if reason in str(each.get("reason"))] == ["limit_reached"]
    assert reason in events[-1]["stopped"]
    again = prealloc.resume("run")
    assert (again.exit_code, again.census["failed"]) == (1, 4)
    last = prealloc.resume("run", max_failures=None)
    assert (last.stopped, last.census["ok"], last.census["failed"]) == (None, 6, 6)
    assert prealloc.status("run").stopped is None


def sum_of(run: str) -> int:
    return sum(count for status, count in prealloc.status(run).census.items() if status != "not_run")


def test_a_limit_that_keeps_nothing_from_starting_is_no_reason(plan: None) -> None:
    """Reached by the very last units: then the run has ended by itself, and says nothing of it."""
    ended = prealloc.run("plan", "limits_worker:solve", "run", engine="inline", max_failures=6)
    assert (ended.stopped, ended.exit_code, ended.census["not_run"]) == (None, 1, 0)
