"""How a run went over time: bounded, summed without loss, and missed by nobody when it is gone."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from run_events import attempt_ended, run_started, shard_info

from prealloc.files.paths import RunPaths
from prealloc.model.events import (
    AttemptStarted,
    MemorySampled,
    ShardStarted,
    WorkerGone,
)
from prealloc.model.lane import LaneFigures
from prealloc.store.telemetry import Telemetry, merged, read_running, read_samples
from prealloc.testing import FakeClock

MOST = 20


class Written:
    """Telemetry of a made-up session with one shard and one lane, two seconds at a time."""

    def __init__(self, folder: Path, session: int = 1) -> None:
        self.paths = RunPaths(folder)
        self.clock = FakeClock(1000.0 * session)
        self.lane = LaneFigures(limit=5.0)
        self.telemetry = Telemetry(
            self.paths, session, lambda: {"k": self.lane, "idle": LaneFigures()}, most_lines=MOST, now=self.clock
        )
        self.telemetry.note(run_started(shard_info("s", 10, done={"ok": 2})))
        self.telemetry.note(ShardStarted(shard="s", incarnation=1, pid=7, units=8))

    def step(self, turns: int = 1, workers: int = 10) -> None:
        self.clock.advance(2.0)
        self.lane = msgspec.structs.replace(
            self.lane, turns=self.lane.turns + turns, tokens=self.lane.tokens + 100 * turns, holders=turns
        )
        self.telemetry.note(MemorySampled(master=5, workers={"s": workers}, other=1))

    def start(self, task: str) -> None:
        self.telemetry.note(AttemptStarted(shard="s", task=task, repeat=0, attempt=1))

    def end(self, task: str) -> None:
        self.telemetry.note(attempt_ended("s", task))


def test_it_stays_small_and_loses_no_count(tmp_path: Path) -> None:
    """When it is full each two lines become one: sums stay sums, the most stays the most, times have no gap."""
    written = Written(tmp_path)
    for step in range(20 * MOST):
        written.step(workers=step)
        assert len(read_samples(written.paths)) <= MOST
    written.telemetry.close()
    samples = read_samples(written.paths)
    assert sum(each.lanes["k"].turns for each in samples) == 20 * MOST
    assert sum(each.lanes["k"].tokens for each in samples) == 2000 * MOST
    assert max(each.workers for each in samples) == 20 * MOST - 1
    assert sum(each.s for each in samples) == pytest.approx(40 * MOST)
    assert all(b.at - a.at == pytest.approx(b.s) for a, b in pairwise(samples))
    assert all("idle" not in each.lanes for each in samples)


def test_sessions_are_not_merged_into_each_other(tmp_path: Path) -> None:
    """A line is of one session, and a line that was cut is only that line's loss."""
    first = Written(tmp_path)
    first.step()
    with first.paths.telemetry.open("ab") as file:
        file.write(b'{"at":10')
    second = Written(tmp_path, session=2)
    for _ in range(3):
        second.step()
    second.telemetry.close()
    samples = read_samples(first.paths)
    assert [each.session for each in samples] == [1, 2, 2, 2, 2]
    assert [each.session for each in merged(samples)] == [1, 2, 2]
    assert [each.s for each in merged(samples)] == [2.0, 4.0, 2.0]


def test_what_runs_now_is_told(tmp_path: Path) -> None:
    """Since when, too; what has ended, or whose workers are gone, is not there; after the end there is nothing."""
    written = Written(tmp_path)
    for task in ("a", "b", "c"):
        written.start(task)
    written.step()
    written.end("a")
    written.step()
    told = read_running(written.paths)
    assert told is not None
    assert [(each.task, each.since) for each in told.units] == [("b", 1000.0), ("c", 1000.0)]
    sample = read_samples(written.paths)[-1]
    assert (sample.running, sample.waiting) == (2, 5)
    written.telemetry.note(WorkerGone(shard="s", pid=7))
    written.step()
    told = read_running(written.paths)
    assert told is not None
    assert told.units == ()
    written.telemetry.close()
    assert read_running(written.paths) is None


def test_a_disk_that_refuses_it_stops_nothing(tmp_path: Path) -> None:
    """Neither file is needed by anybody."""
    written = Written(tmp_path)
    written.paths.telemetry.mkdir()
    written.paths.running.mkdir()
    written.start("a")
    written.step()
    written.telemetry.close()
    assert read_samples(written.paths) == []
    assert json.dumps(read_running(written.paths)) == "null"
