"""Several masters fill one experiment: no unit is run by two of them, and none is lost with one that is killed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import checker
import pytest
from harness import Session, Stage, wait_until

from prealloc.api.experiments import experiment_status
from prealloc.api.outcomes import outcomes
from prealloc.api.plans import plan
from prealloc.files.faultpoint import Point

pytestmark = pytest.mark.fault

TASKS = 40
PROGRAM = f"{sys.executable} {Path(__file__).parent / 'outside_runner.py'} --manifest {{manifest}}"
KILLS = (
    *(f"{Point.ENDING_HEARD}:{passage}:kill" for passage in (1, 2, 3)),
    *(f"{Point.ATTEMPT_WRITTEN}:{passage}:kill-master" for passage in (1, 2)),
    *(f"{Point.ATTEMPT_FINISHED}:{passage}:kill-master" for passage in (1, 2)),
    f"{Point.UNITS_CLAIMED}:2:kill",
    f"{Point.CLAIMS_WRITE}:2:torn",
    f"{Point.SHIP_SENT}:1:kill",
)
"""Where the one master dies, time after time; some of its workers go on for a moment."""


def make_plans(stage: Stage, do: dict[str, Any], tasks: int, **plans: dict[str, Any]) -> dict[str, Path]:
    """Plans over one library, whose tasks all do the same."""
    rows = [{"id": f"t{n:02}", "task_type": "simple_task", "workflow": do} for n in range(tasks)]
    stage.library.write_text(json.dumps({"tasks": rows}))
    for name, options in plans.items():
        plan(stage.library, out=stage.root / name, whole=True, settings={"signals": str(stage.signals)}, **options)
    return {name: stage.root / name for name in plans}


def join(stage: Stage, number: int, *options: str, **named: Any) -> Session:
    """The run of this number of the experiment begins."""
    stage.run = stage.root / "exp" / "runs" / f"{number:04}"
    return stage.join("--experiment", str(stage.root / "exp"), *options, **named)


def kill_whole(session: Session) -> None:
    """SIGKILL to its master; until its workers are dead, too: what they end by then would be the run's."""
    workers = tuple(each["pid"] for each in session.of("shard_started"))
    session.kill()
    wait_until(lambda: not checker.survivors(None, workers), "end of its workers")


def decided(stage: Stage) -> Counter[tuple[str, str, int]]:
    """(model, task, repeat) of each final line in any journal of the experiment, from the files alone."""
    found: Counter[tuple[str, str, int]] = Counter()
    for run in sorted((stage.root / "exp" / "runs").iterdir()):
        manifests = {path.stem: json.loads(path.read_text()) for path in (run / "plan" / "shards").iterdir()}
        for line in checker.journal(run, []):
            content = line.content
            if "kind" not in content and content["status"] in checker.FINAL and not content.get("late"):
                cell = manifests[content["shard"]]["cell"]
                found[cell.get("model", ""), content["task"], content["repeat"]] += 1
    return found


def check(sessions: list[Session]) -> None:
    """Nothing that was acknowledged is lost or changed, and no process is left."""
    for session in sessions:
        broken = checker.check(session.evidence()._replace(exit_code=None))
        assert not [line for line in broken if not line.startswith("I2")], broken


def test_one_of_two_masters_is_killed_ten_times(stage: Stage) -> None:
    """Two configs, two masters, one SIGKILLed ten times: at the end every unit of both is decided once."""
    plans = make_plans(
        stage,
        {"do": "ok", "s": 0.03},
        TASKS,
        steady={"factors": {"model": ["a", "b"]}, "shards": 2},
        killed={"factors": {"model": ["b", "c", "a"]}, "shards": 3},
    )
    steady = join(stage, 1, "--workers", "1", plan=plans["steady"])
    steady.wait_for("attempt_ended")
    dead = []
    for number, fault in enumerate(KILLS, 2):
        dead.append(join(stage, number, "--workers", "2", plan=plans["killed"], faults=fault))
        assert dead[-1].end() is None, dead[-1].output()
    last = join(stage, 2 + len(KILLS), "--workers", "2", plan=plans["killed"])
    assert (last.wait(), steady.wait()) == (0, 0), last.output() + steady.output()
    check([steady, *dead, last])
    wanted = {(model, f"t{n:02}", 0) for model in "abc" for n in range(TASKS)}
    assert decided(stage) == dict.fromkeys(wanted, 1)
    status = experiment_status(stage.root / "exp")
    assert (status.wanted, status.done, status.ok) == (3 * TASKS,) * 3
    assert len([*outcomes(stage.root / "exp")]) == 3 * TASKS
    again = join(stage, 3 + len(KILLS), plan=plans["killed"])
    assert again.wait() == 0
    assert not stage.run.exists()


def test_the_second_has_work_at_once(stage: Stage) -> None:
    """What the first holds the second leaves alone and outside its denominator; the first leaves it what it did."""
    (path,) = make_plans(stage, {"do": "gate"}, 8, plan={"shards": 2}).values()
    first = join(stage, 1, "--workers", "1", "--worker-name", "one", plan=path)
    first.wait_for("attempt_started")
    second = join(stage, 2, "--worker-name", "one", plan=path, worker="prealloc.testing:scripted")
    assert second.wait() == 0, second.output()
    (ended,) = second.of("run_ended")
    assert (ended["census"]["ok"], ended["census"]["not_run"], ended["elsewhere"], ended["missing"]) == (4, 4, 4, [])
    assert not second.of("attempt_ended", shard="shard-00")
    stage.let_go()
    assert first.wait() == 0
    (ended,) = first.of("run_ended")
    assert (ended["census"]["ok"], ended["elsewhere"]) == (4, 4)
    assert set(decided(stage).values()) == {1}
    check([first, second])


def test_what_a_killed_master_held_the_other_runs_at_its_end(stage: Stage) -> None:
    """The other looks again before it ends: units whose holder is dead are run, by the shard's second worker."""
    (path,) = make_plans(stage, {"do": "gate"}, 8, plan={"shards": 2}).values()
    first = join(stage, 1, "--workers", "1", plan=path)
    first.wait_for("attempt_started")
    second = join(stage, 2, "--workers", "1", plan=path)
    second.wait_for("attempt_started", shard="shard-01")
    kill_whole(first)
    stage.let_go()
    assert second.wait() == 0, second.output()
    (ended,) = second.of("run_ended")
    assert (ended["census"]["ok"], ended["elsewhere"]) == (8, 0)
    assert set(decided(stage).values()) == {1}
    check([first, second])


@pytest.mark.parametrize(("by", "numbers"), [((), [1, 2]), (("--command", PROGRAM), [2, 3])], ids=["local", "command"])
def test_half_a_shard_is_held(stage: Stage, by: tuple[str, ...], numbers: list[int]) -> None:
    """Another deal: of a shard that is partly held the rest runs first, and what became free in a second worker."""
    plans = make_plans(stage, {"do": "gate"}, 8, narrow={"shards": 4}, wide={"shards": 1})
    first = join(stage, 1, "--workers", "1", "--worker-name", "one", plan=plans["narrow"])
    first.wait_for("attempt_started")
    second = join(stage, 2, *by, "--worker-name", "one", plan=plans["wide"])
    assert second.wait_for("shard_started")["units"] == 6
    kill_whole(first)
    stage.let_go()
    assert second.wait() == 0, second.output()
    assert second.of("run_ended")[0]["census"]["ok"] == 8
    assert [each["incarnation"] for each in second.of("shard_started")] == numbers
    assert set(decided(stage).values()) == {1}
    check([first, second])
