"""Rows 1 to 3: a worker dies under its tasks."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import Stage

from examples import in_laws

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("concurrency", [1, 4])
def test_sigkill_of_a_worker_mid_task(stage: Stage, concurrency: int) -> None:
    """Row 1: known in 0.2 s; its running tasks are suspects, the rest goes to a replacement; other shards go on.

    Not lost: what had ended before. The suspects are innocent, so they end ok, each after one more start.
    """
    stage.make_plan({f"t{n}": {"do": "gate" if n < 4 else "ok"} for n in range(12)}, shards=2, strategy="paired")
    session = stage.start("-c", str(concurrency), "--workers", "2")
    session.wait_for("shard_started", 2)
    victim = session.of("shard_started", shard="shard-00")[0]["pid"]
    stage.wait_for_start("t0") if concurrency == 4 else time.sleep(0.3)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    lost = session.wait_for("worker_lost", shard="shard-00")
    assert lost["told_at"] - killed_at < 2.0  # gate: 0.2 s
    assert lost["pid"] == victim
    assert "SIGKILL" in lost["reason"]
    assert lost["suspects"] <= concurrency
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 24}
    assert len(session.of("worker_lost")) == 1  # nobody else died, no other shard was touched
    assert len(session.of("shard_started", shard="shard-01")) == 1
    stage.check(session)


DEADLY = {
    "SIGSEGV": ({"do": "segv"}, "SIGSEGV"),
    "SIGKILL": ({"do": "kill_self"}, "SIGKILL"),
    "SIGUSR1": ({"do": "kill_self", "signal": int(signal.SIGUSR1)}, "SIGUSR1"),
    "os._exit(0)": ({"do": "os_exit", "code": 0}, "code 0"),
    "os._exit(7)": ({"do": "os_exit", "code": 7}, "code 7"),
}


@pytest.mark.parametrize("concurrency", [in_laws(1), 4])
@pytest.mark.parametrize("how", DEADLY)
def test_a_task_that_kills_its_worker(stage: Stage, how: str, concurrency: int) -> None:
    """Rows 2 and 3: `crashed`, with signal or code, after two deaths when alone; an exit without a result is one.

    Not lost: the innocents end ok; only those beside the poison run again.
    """
    poison, reason = DEADLY[how]
    stage.make_plan({"poison": poison, **{f"t{n}": {"do": "ok", "s": 0.02} for n in range(11)}})
    session = stage.start("-c", str(concurrency))
    assert session.wait() == 1
    assert session.census == {"ok": 11, "crashed": 1}
    (ended,) = session.of("attempt_ended", task="poison")
    assert reason in ended["error"]["message"]
    assert stage.attempts("poison") <= 3  # once beside others, twice alone
    again = [n for n in range(11) if stage.attempts(f"t{n}") > 1]
    assert len(again) <= concurrency - 1
    stage.check(session)


@pytest.mark.parametrize("worker", ["agents:act", "agents:act_async"])
@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit_in_a_task(stage: Stage, code: int, worker: str) -> None:
    """Row 2: sys.exit, with code 0 too, is `crashed`: an exit without a result. Sync and async functions alike."""
    stage.make_plan({"poison": {"do": "sys_exit", "code": code}, **{f"t{n}": {"do": "ok"} for n in range(5)}})
    session = stage.start("-c", "2", "--timeout", "3", worker=worker)
    assert session.wait() == 1
    assert session.census == {"ok": 5, "crashed": 1}
    stage.check(session)


def test_poisons_among_innocents_at_concurrency_4(stage: Stage) -> None:
    """Row 3: three poisons among 37 innocents. Poisons are final and named; innocents end ok.

    An innocent runs again only if it ran beside a poison when that killed the worker: at most 3 x 3 of them.
    """
    innocents = {f"t{n:02}": {"do": "ok", "s": 0.02} for n in range(37)}
    stage.make_plan({"p1": {"do": "kill_self"}, "p2": {"do": "segv"}, "p3": {"do": "os_exit"}, **innocents})
    session = stage.start("-c", "4")
    assert session.wait() == 1
    assert session.census == {"ok": 37, "crashed": 3}
    assert {text.partition(" ")[0] for text in session.of("run_ended")[0]["missing"]} == {
        f"shard-00/p{n}#0" for n in (1, 2, 3)
    }
    assert sum(stage.attempts(task) - 1 for task in innocents) <= 9
    assert all(stage.attempts(f"p{n}") <= 3 for n in (1, 2, 3))
    stage.check(session)


def test_a_death_count_survives_the_master(stage: Stage) -> None:
    """Row 3 with row 11: a resume does not give a poison its deaths back."""
    stage.make_plan({"poison": {"do": "kill_self", "s": 0.4}, "t0": {"do": "ok"}})
    first = stage.start()
    first.wait_for("worker_lost", 2)  # once beside nobody but not alone by right, once alone
    first.kill()
    stage.check(first)
    second = stage.resume()
    assert second.wait() == 1
    assert second.census == {"ok": 1, "crashed": 1}
    assert stage.attempts("poison") <= 4
    stage.check(second)


def test_sigkill_of_the_fork_server(stage: Stage) -> None:
    """The process that starts workers dies: prealloc stops loudly with 3, leaves nobody, resume goes on."""
    stage.make_plan({f"t{n}": {"do": "gate" if n % 2 else "ok"} for n in range(8)}, shards=2)
    session = stage.start("-c", "4")
    worker = session.wait_for("shard_started", 2)["pid"]
    session.wait_for("attempt_ended", 1)
    with open(f"/proc/{worker}/stat") as file:
        server = int(file.read().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    assert session.wait() == 3
    stage.check(session)
    stage.let_go()
    stage.finish()


def test_a_worker_that_dies_before_any_task(stage: Stage) -> None:
    """Three workers in a row that never start a task: prealloc stops with 3 and says so, rather than for ever."""
    stage.make_plan(4)
    session = stage.start(worker="deadly_import:act")
    assert session.wait() == 3
    assert "before they started a task" in session.output()
    stage.check(session)


def test_a_worker_that_dies_after_a_server_turned_its_task_away(stage: Stage) -> None:
    """To be turned away (429) uses no retry, also if the worker could not tell of it before it died.

    Not lost: the unit, which has one retry and needs it after that.
    """
    stage.make_plan({"t": {"do": "turned_away"}})
    session = stage.start("--retries", "1", faults="attempt.written:1:kill")
    assert session.wait() == 0
    assert len(session.of("worker_lost")) == 1
    assert stage.attempts("t") == 3
    stage.check(session)
