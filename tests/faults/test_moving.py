"""Units that move to another worker: each still runs once, and ends as it would have where it was."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import checker
import pytest
from harness import Session, Stage, wait_until

pytestmark = pytest.mark.fault


def starts(stage: Stage) -> Counter[str]:
    """How often each task has really started."""
    return Counter(name.split(".")[1] for name in os.listdir(stage.signals) if name.startswith("started."))


def workers(session: Session) -> dict[str, set[int]]:
    """The worker processes of each shard."""
    found: dict[str, set[int]] = {}
    for event in session.of("shard_started"):
        found.setdefault(event["shard"], set()).add(event["pid"])
    return found


def positions(run: Path) -> list[list[tuple[int, int]]]:
    """Of each worker: the units (repeat, position in the shard) in the order in which they ended."""
    place = {unit: (unit[2], number) for number, unit in enumerate(checker.planned_units(run))}
    files: dict[str, list[tuple[int, int]]] = {}
    for line in checker.journal(run, []):
        if line.shard is not None and "kind" not in line.content:
            unit = (line.content["shard"], line.content["task"], line.content["repeat"])
            files.setdefault(line.file, []).append(place[unit])
    return list(files.values())


def slow(count: int, **others: Any) -> dict[str, Any]:
    return {**others, **{f"t{number:02}": {"do": "sleep", "s": 0.25} for number in range(count)}}


@pytest.mark.parametrize(
    ("worker", "options"),
    [
        ("agents:act", ()),
        ("agents:act", ("-c", "3")),
        ("agents:act_async", ("-c", "3")),
        ("agents:act", ("--cleanup", "cleaning:sweep", "-c", "2")),
    ],
    ids=["one at a time", "three at a time", "coroutines", "cleanup"],
)
def test_free_workers_take_units_from_a_long_shard(stage: Stage, worker: str, options: tuple[str, ...]) -> None:
    """Each unit starts once, in one of several workers of its shard; a worker keeps to the shard's order.

    The shard ends once, after the last of them.
    """
    tasks = 8 * (int(options[-1]) if options else 1)
    stage.make_plan(slow(tasks), repeats=2)
    session = stage.start("--workers", "4", *options, worker=worker)
    assert session.wait() == 0
    assert len(workers(session)["shard-00"]) > 1
    assert starts(stage) == dict.fromkeys(slow(tasks), 2)
    names = [event["event"] for event in session.events]
    assert names.count("shard_ended") == 1
    assert names.index("shard_ended") > max(n for n, name in enumerate(names) if name == "attempt_ended")
    if not options:
        for ended in positions(stage.run):
            assert ended == sorted(ended)
    stage.check(session)


def test_no_rebalance(stage: Stage) -> None:
    """Every shard stays in one worker."""
    stage.make_plan(slow(4), shards=2)
    session = stage.start("--workers", "4", "--no-rebalance")
    assert session.wait() == 0
    assert [len(pids) for pids in workers(session).values()] == [1, 1]


def test_a_worker_that_hangs_gives_nothing(stage: Stage) -> None:
    """What it holds stays with it until it is dead for certain; then each of the units runs once.

    The one that ran in it is `timeout`, as it was alone.
    """
    stage.make_plan({f"t{number}": {"do": "sleep", "s": 0.4} for number in range(6)})
    session = stage.start("--workers", "2", "--timeout", "1.5")
    wait_until(lambda: starts(stage), "a start")
    stopped = session.wait_for("shard_started")["pid"]
    os.kill(stopped, signal.SIGSTOP)
    assert session.wait() == 1
    assert session.of("worker_lost", pid=stopped)
    assert session.census == {"ok": 5, "timeout": 1}
    assert starts(stage) == dict.fromkeys((f"t{number}" for number in range(6)), 1)
    stage.check(session)


def test_what_waits_for_another_try_stays_in_its_worker(stage: Stage) -> None:
    """It has begun. Its tries go on counting, and the attempts are those of a run that moves nothing."""
    tasks = slow(8, **{f"again{number}": {"do": "busy", "times": 1, "after_s": 0.5} for number in range(4)})
    stage.make_plan(tasks)
    session = stage.start("--workers", "4", "-c", "2")
    assert session.wait() == 0
    assert len(workers(session)["shard-00"]) > 1
    for number in range(4):
        assert len(set(stage.pids(f"again{number}"))) == 1
        assert stage.attempts(f"again{number}") == 2
    assert all(stage.attempts(task) == 1 for task in slow(8))
    stage.check(session)


def test_suspects_are_judged_as_ever(stage: Stage) -> None:
    """A task that kills its workers is `crashed` after two deaths alone, wherever it runs; the others are ok."""
    stage.make_plan(slow(16, poison={"do": "kill_self", "s": 0.1}), shards=2)
    session = stage.start("--workers", "6", "-c", "2")
    assert session.wait() == 1
    assert session.census == {"ok": 16, "crashed": 1}
    assert stage.attempts("poison") == 3
    assert len([pid for pids in workers(session).values() for pid in pids]) > 5
    stage.check(session)


def test_units_of_a_killed_worker_move_on(stage: Stage) -> None:
    """A worker dies after it has given units: those run where they went, the rest in a replacement."""
    stage.make_plan(slow(16))
    session = stage.start("--workers", "2")
    session.wait_for("shard_started", 2)
    first = session.of("shard_started")[0]["pid"]
    os.kill(first, signal.SIGKILL)
    assert session.wait() == 0
    assert sum(starts(stage).values()) <= 17  # what ran in it has started twice
    stage.check(session)
