"""A run that is limited, or changed from outside: nothing more starts, what runs ends, nothing is lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from counting_server import CountingServer, counting_server, fullest
from harness import Session, Stage, wait_until

import prealloc
from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

pytestmark = pytest.mark.fault

SHARDS = 4


def ctl(stage: Stage, *words: str, code: int = 0) -> dict[str, Any]:
    """What `prealloc ctl` answers."""
    asked = stage.command("ctl", str(stage.run), *words)
    assert asked.wait() == code, asked.output()
    found: dict[str, Any] = json.loads(asked.output().splitlines()[0])
    return found


def last(session: Session) -> dict[str, Any]:
    (ended,) = session.of("run_ended")
    return ended


LATER = {"do": "gate", "opens_on": "later"}


def plan_in_order(stage: Stage, *orders: dict[str, Any], shards: int) -> dict[str, dict[str, Any]]:
    """Plans so that each shard comes to these tasks in this order. Gives them by id."""
    ids = [f"t{n:03}" for n in range(len(orders) * shards)]
    planned = prealloc.plan([{"id": id, "type": "simple_task"} for id in ids], whole=True, shards=shards)
    tasks = {task.id: do for shard in planned.shards for task, do in zip(shard.tasks, orders, strict=True)}
    stage.make_plan({id: tasks[id] for id in ids}, shards=shards)
    return tasks


def end_what_runs(stage: Stage, session: Session, tasks: dict[str, dict[str, Any]], slots: int) -> dict[str, int]:
    """Lets a session end that has reached a limit: what ran ends as it would. Gives how its units must have ended.

    A slot that becomes free just before its worker hears of the limit may take one task more, which then runs too.
    """
    running = [id for id, do in tasks.items() if do == {"do": "gate"}]
    stage.let_go()
    session.wait_for("attempt_ended", status="ok", count=len(running))
    (stage.signals / "later").touch()
    assert session.wait() == 1
    late = sum(bool(stage.attempts(id)) for id, do in tasks.items() if do == LATER)
    assert late <= slots
    return {"ok": len(running) + late, "not_run": sum(do == LATER for do in tasks.values()) - late}


def test_max_failures_under_load(stage: Stage) -> None:
    """No new task starts, what runs ends as it would, the reason is said; resume runs the rest, and nothing twice."""
    fails = {"do": "fail", "s": 0.1}
    tasks = plan_in_order(stage, *[{"do": "gate"}] * 4, *[fails] * 5, *[LATER] * 20, shards=SHARDS)
    session = stage.start("--max-failures", "20", "-c", "5")
    reached = session.wait_for("limit_reached")
    assert reached["reason"] == "20 of the 20 units that ended are not ok (20 failed), max-failures is 20"
    left = end_what_runs(stage, session, tasks, slots=5 * SHARDS)
    assert session.census == {"failed": 20, **left}
    assert last(session)["stopped"] == reached["reason"]
    stage.check(session)
    again = stage.resume("--max-failures", "none")
    assert again.wait() == 1
    assert again.census == {"failed": 20, "ok": 96}
    assert {task: stage.attempts(task) for task in tasks} == dict.fromkeys(tasks, 1)
    stage.check(again)


def test_max_time(stage: Stage) -> None:
    """After it what runs may end, however long that takes; the next session has all of it again."""
    tasks = plan_in_order(stage, *[{"do": "gate"}] * 2, *[LATER] * 8, shards=2)
    session = stage.start("--max-time", "4s", "-c", "2")
    stage.wait_for_start(*(id for id, do in tasks.items() if do == {"do": "gate"}))
    session.wait_for("limit_reached", reason="max-time 4s is over")
    assert not session.of("attempt_ended")
    left = end_what_runs(stage, session, tasks, slots=4)
    assert session.census == left
    assert last(session)["stopped"] == "max-time 4s is over"
    stage.check(session)
    again = stage.resume()
    assert again.wait() == 0
    assert last(again)["stopped"] is None


def test_a_paused_run_starts_nothing_and_goes_on(stage: Stage) -> None:
    """After --pause what runs ends and nothing starts, until --resume; wider and narrower, all units end once."""
    tasks = {f"t{n:03}": {"do": "ok", "s": 0.1} for n in range(160)}
    stage.make_plan(tasks, shards=SHARDS)
    session = stage.start("--workers", "2", "-c", "2")
    session.wait_for("attempt_ended", count=10)
    paused = ctl(stage, "--pause", "--concurrency", "3")
    assert (paused["paused"], paused["concurrency"]) == (True, 3)
    session.wait_for("run_steered", paused=True)

    def quiet() -> bool:
        return len(session.of("attempt_ended")) == sum(map(stage.attempts, tasks))

    wait_until(quiet, "end of what runs")
    before = sum(map(stage.attempts, tasks))
    session.wait_for("memory_sampled", count=len(session.of("memory_sampled")) + 1)
    assert sum(map(stage.attempts, tasks)) == before < len(tasks)
    ctl(stage, "--workers", "4", "--resume")
    session.wait_for("attempt_ended", count=before + 12)
    assert ctl(stage, "--workers", "1", "--concurrency", "1")["workers"] == 1
    assert ctl(stage, "--workers", "4", "--concurrency", "5")["concurrency"] == 5
    assert session.wait() == 0
    assert {task: stage.attempts(task) for task in tasks} == dict.fromkeys(tasks, 1)
    stage.check(session)


def test_the_rate_of_a_lane_changes(stage: Stage) -> None:
    """Lowered, no window has more than the new rate; raised, it is used."""
    with counting_server() as server:
        lanes = [Lane.checked(name="k", shards_at_once=64, queries_per_second=60)]
        work = [make_task(f"t{n:03}", workflow={"requests": 30}) for n in range(16)]
        write_plan(make_plan(work, shards=4, lanes=lanes, settings={"port": server.port}), stage.plan)
        session = stage.start("-c", "4", worker="lane_agents:saturate")
        arrived(server, 60)
        lowered = ctl(stage, "--lane", "k", "--rate", "15")
        assert lowered["lanes"] == [{"name": "k", "per_s": 15.0, "halted": None}]
        from_here = arrived(server, len(server.arrived["k"]) + 6)  # what was granted before has come
        arrived(server, from_here + 45)
        slow = sorted(server.arrived["k"])[from_here:]
        assert fullest(slow, 1.0) <= 1.05 * 15 + 1
        ctl(stage, "--lane", "k", "--rate", "100")
        from_here = arrived(server, len(server.arrived["k"]) + 20)
        assert session.wait() == 0
        fast = sorted(server.arrived["k"])[from_here:]
        assert fullest(fast, 1.0) <= 1.05 * 100 + 1
        assert len(fast) / (fast[-1] - fast[0]) >= 40
        assert len(server.arrived["k"]) == 480
    stage.check(session)


def arrived(server: CountingServer, count: int) -> int:
    """Waits until so many requests have arrived."""
    wait_until(lambda: len(server.arrived["k"]) >= count, f"{count} requests")
    return len(server.arrived["k"])


def test_a_master_that_is_killed_leaves_a_socket_that_is_replaced(stage: Stage) -> None:
    """Nobody answers there, and ctl says so; the next session has the same place."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)}, shards=2)
    session = stage.start()
    stage.wait_for_start("t0")
    ctl(stage, "--pause")
    place = Path((stage.run / "control").read_text())
    session.kill()
    assert place.is_socket()
    assert ctl(stage, code=2)["problem"] == "it is not running"
    again = stage.resume()
    again.wait_for("shard_started")
    assert ctl(stage, "--workers", "1")["paused"] is False
    assert Path((stage.run / "control").read_text()) == place
    stage.let_go()
    assert again.wait() == 0
    assert not place.exists()
    stage.check(again)


@pytest.mark.parametrize("ending", ["ok", "stopped", "killed by itself"])
def test_the_end_is_told(stage: Stage, ending: str) -> None:
    """--on-end has the summary whatever the ending, and the run's lock is free by then; its failure changes nothing."""
    stage.make_plan({"a": {"do": "ok" if ending == "ok" else "gate"}})
    told = stage.root / "told.json"
    command = f"sh -c 'cat > {told}; test ! -e {stage.run}/control && exit 7'"
    session = stage.start("--on-end", command, "--drain", "0.1")
    if ending != "ok":
        stage.wait_for_start("a")
        session.signal(signal.SIGTERM if ending == "stopped" else signal.SIGINT)
    code = {"ok": 0, "stopped": 143, "killed by itself": 130}[ending]
    assert session.wait() == code
    summary = json.loads(told.read_text())
    assert (summary["event"], summary["exit_code"], summary["run"]) == ("run_ended", code, str(stage.run))
    assert [text for text in session.notes() if text.startswith("on-end: it ended with exit code 7")]
    assert session.events[-1]["event"] == "run_ended"
    stage.check(session)


def test_a_command_that_hangs_is_killed(stage: Stage) -> None:
    """With what it has started, after its time; here Ctrl-C is that."""
    stage.make_plan({"a": {"do": "ok"}})
    session = stage.start(
        "--on-end", "sh -c 'sleep 1000 & touch sleeping; wait'".replace("sleeping", str(stage.root / "s"))
    )
    wait_until((stage.root / "s").exists, "command")
    session.signal(signal.SIGINT)
    assert session.wait() in (0, 130)
    assert last(session)["census"]["ok"] == 1
    stage.check(session)
