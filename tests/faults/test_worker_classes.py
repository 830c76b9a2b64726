"""The object of a worker class is closed however its worker ends by itself, and costs no more than it may."""

from __future__ import annotations

import signal

import pytest
from class_agents import FOLDER, HANGS
from harness import Stage, wait_until

pytestmark = pytest.mark.fault

LATE_S = 10.0
BOTH = pytest.mark.parametrize("worker", ["class_agents:Holder", "class_agents:AsyncHolder"])


@pytest.fixture(autouse=True)
def folder(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(stage.signals))


def of(stage: Stage, what: str) -> set[str]:
    """The processes in which it has happened."""
    return {path.name.partition(".")[2] for path in stage.signals.glob(f"{what}.*")}


@BOTH
def test_a_worker_that_retires_closes_its_object(stage: Stage, worker: str) -> None:
    """A task that meets its timeout, is interrupted and comes back. Who takes over has an object of its own."""
    stage.make_plan({"t0": {"do": "wait"}, "t1": {"do": "ok"}, "t2": {"do": "ok"}}, first="t0")
    session = stage.start("--timeout", "0.5", "--grace", "5", worker=worker)
    assert session.wait() == 1
    assert session.census == {"ok": 2, "timeout": 1}
    assert of(stage, "closed") == of(stage, "made")
    assert len(of(stage, "made")) == (2 if worker == "class_agents:Holder" else 1)  # a cancelled coroutine retires none
    assert not session.of("note")
    stage.check(session)


def test_the_object_of_a_thread_that_does_not_come_back_is_closed_from_another(stage: Stage) -> None:
    """A task that sits in a C call keeps its thread for ever: the object is closed all the same."""
    stage.make_plan({"t0": {"do": "sleep"}, "t1": {"do": "ok"}}, first="t0")
    session = stage.start("--timeout", "0.5", "--grace", "0.5", worker="class_agents:Holder")
    assert session.wait() == 1
    assert session.census == {"ok": 1, "timeout": 1}
    assert of(stage, "closed") == of(stage, "made")
    assert len(of(stage, "made")) == 2
    stage.check(session)


@BOTH
@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_stopped_closes_its_objects(stage: Stage, worker: str, times: int) -> None:
    """Ctrl-C once: when what runs has ended; twice: when what runs has been cancelled."""
    stage.make_plan({"t0": {"do": "gate" if times == 1 else "wait"}, "t1": {"do": "ok"}}, first="t0")
    session = stage.start("--drain", "30", "--grace", "5", worker=worker)
    stage.wait_for_start("t0")
    for number in range(times):
        session.signal(signal.SIGINT)
        wait_until(lambda number=number: len(session.of("stopping")) > number, "the signal to be heard")
    stage.let_go()
    assert session.wait() == 130
    assert of(stage, "closed") == of(stage, "made")
    assert len(of(stage, "made")) == 1
    stage.check(session)


@BOTH
def test_an_object_that_hangs_while_it_is_closed(stage: Stage, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the grace, then the worker ends; the run says so, and ends well."""
    monkeypatch.setenv(HANGS, "closed")
    stage.make_plan(4, shards=2)
    session = stage.start("--grace", "1", worker=worker)
    assert session.wait() == 0
    assert session.ended_at - session.started_at < 1 + LATE_S
    notes = sorted(note["text"] for note in session.of("note"))
    assert [note.partition(": it takes")[0] for note in notes] == [
        f"shard-0{number}: its worker was not closed" for number in range(2)
    ]
    assert not session.of("worker_lost")
    stage.check(session)


@BOTH
def test_an_object_that_hangs_while_it_is_made(stage: Stage, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--start-timeout bounds that, as it bounds the import; the log says where it hangs."""
    monkeypatch.setenv(HANGS, "made")
    stage.make_plan(2)
    session = stage.start("--start-timeout", "2", worker=worker)
    assert session.wait() == 3
    assert "it did not start within the start_timeout" in session.output()
    assert "class_agents.py" in (stage.run / "logs" / "shard-00.log").read_text()
    stage.check(session)
