"""`prealloc status --watch`: what the files tell is what the run itself tells, at each moment and at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command_line import Type

import prealloc
from prealloc.api.watch import RunWatch, watches
from prealloc.files.paths import RunPaths
from prealloc.model.events import (
    AttemptEnded,
    Event,
    LaneChanged,
    LaneHalted,
    LanePaused,
    LimitReached,
    RunEnded,
)
from prealloc.report.progress import RunProgress
from prealloc.store.lane_log import LaneLog, read_halts, read_notes
from prealloc.store.telemetry import Running, RunningUnit
from prealloc.testing import fails, make_plan, make_task, retries, returns, scripted


def plan() -> prealloc.Plan:
    """Two shards of four tasks: some fail, some are tried again."""
    tasks = [make_task(f"t{n}", script=[returns({"success": n % 2 == 0})]) for n in range(6)]
    tasks += [make_task("bad", script=[fails(), fails(), returns({"success": True})])]
    tasks += [make_task("busy", script=[retries(), returns({"success": True})])]
    return make_plan(tasks, shards=2)


class Seen:
    """What a reporter makes of events."""

    def __init__(self) -> None:
        self.progress = RunProgress()
        self.events: list[Event] = []

    def take(self, event: Event, at: float = 0.0) -> None:
        self.events.append(event)
        self.progress.apply(event, at)

    def told(self) -> dict[str, Any]:
        """All that does not depend on the clock."""
        shards = [self.progress.total, *self.progress.shards.values()]
        return {
            "tallies": [(each.units, each.done, each.counts, each.retries, each.success) for each in shards],
            "states": self.progress.states(),
            "limit": self.progress.limit,
            "earlier": self.progress.earlier,
            "end": self.progress.ended and (self.progress.ended.census, self.progress.ended.exit_code),
        }


def seen_in_files(run: Path) -> Seen:
    found, watch = Seen(), RunWatch(run)
    while not watch.has_ended:
        for at, event in watch.news():
            found.take(event, at)
    return found


@pytest.mark.parametrize("options", [{}, {"limit": 2}, {"max_failures": 1}], ids=["whole", "part", "stopped"])
def test_the_files_tell_what_the_run_tells(tmp_path: Path, options: dict[str, Any]) -> None:
    """Each session alone, the second with what the first has left; the end is the run's own, exit code and all."""
    run = tmp_path / "run"
    for resumed in (False, True):
        live = Seen()
        if resumed:
            prealloc.resume(run, failed=True, observe=live.take, max_failures=None)
        else:
            prealloc.run(plan(), scripted, run, engine="inline", observe=live.take, retries=2, **options)
        assert seen_in_files(run).told() == live.told()


def test_it_follows_while_the_run_goes_on(tmp_path: Path) -> None:
    """What was appended is told once, and nothing is told before it is in the journal."""
    run, live, followed = tmp_path / "run", Seen(), Seen()
    watch: list[RunWatch] = []

    def observe(event: Event) -> None:
        live.take(event)
        if not watch:
            watch.append(RunWatch(run))
        if not isinstance(event, RunEnded):  # the lock is still held, so it is no end
            for at, each in watch[0].news():
                followed.take(each, at)
            assert followed.progress.total.done >= live.progress.total.done  # the journal comes first
            assert not watch[0].has_ended

    prealloc.run(plan(), scripted, run, engine="inline", observe=observe)
    for at, each in watch[0].news():
        followed.take(each, at)
    assert watch[0].has_ended
    assert followed.told() == live.told()


def test_a_lanes_log_tells_its_events_as_they_were(tmp_path: Path) -> None:
    """All that was said of them: of a lane that has halted also whether others take its tasks."""
    paths, lanes = RunPaths(tmp_path), [prealloc.Lane(name="a"), prealloc.Lane(name="b")]
    paths.lanes.mkdir()
    events = [
        LaneChanged(lane="a", limit=7.0, window_s=2.0, reason="found"),
        LanePaused(lane="b", wait_s=3.0, http_status=429),
        LaneHalted(lane="b", reason="refused", hint="fix the key", goes_on=True),
    ]
    log = LaneLog(paths, lanes, 2)
    for event in events:
        log.note(event)
    assert [note.told() for note in read_notes(paths, lanes)] == events
    assert read_halts(paths, lanes, 2) == (events[2],)
    assert read_halts(paths, lanes, 1) == ()


def test_what_runs_now_is_named_until_it_ends(tmp_path: Path) -> None:
    """Since when, too. What has ended is not taken for running because that file is a little old."""
    run, followed = tmp_path / "run", Seen()
    watch: list[RunWatch] = []
    units = [RunningUnit(shard="shard-00", task=f"t{n}", repeat=0, attempt=1, since=5.0) for n in (0, 2)]
    told = Running(at=5.0, session=1, units=tuple(units))

    def observe(event: Event) -> None:
        RunPaths(run).running.write_bytes(msgspec.json.encode(told))
        watch[:] = watch or [RunWatch(run)]
        if not isinstance(event, RunEnded):
            for at, each in watch[0].news():
                followed.take(each, at)
            over = {each.task for each in followed.events if isinstance(each, AttemptEnded)}
            running = followed.progress.shards["shard-00"].running
            assert running == {(task, 0): 5.0 for task in ("t0", "t2") if task not in over}

    prealloc.run(plan(), scripted, run, engine="inline", observe=observe)


def test_the_command_ends_as_the_run_does(type_: Type) -> None:
    """With its summary and its exit code; as JSON its events. A killed session is told with what goes on with it."""
    prealloc.run(plan(), scripted, "run", engine="inline", max_failures=1)
    done = type_("status", "run", "--watch")
    assert done.code == 1
    assert "max-failures is 1" in done.out
    assert "to go on   prealloc resume run\n" in done.out
    events = [json.loads(line) for line in type_("status", "run", "--watch", "--json").out.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["run_started", "run_ended"]
    assert any(event["event"] == LimitReached.__struct_config__.tag for event in events)
    journal = Path("run/journal/supervisor.0001.jsonl")
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"session_end"' not in line))
    assert "without having ended the session; to go on: prealloc resume run" in type_("status", "run", "--watch").out


def test_an_experiment_whose_runs_have_ended_is_not_waited_for(type_: Type) -> None:
    """Its status is shown, with that exit code."""
    prealloc.run(plan(), scripted, experiment="exp", engine="inline")
    assert not list(watches("exp"))
    watched, plain = type_("status", "exp", "--watch"), type_("status", "exp")
    assert (watched.code, watched.out) == (plain.code, plain.out)
