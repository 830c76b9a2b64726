"""The supervisor without processes: what a worker says, in the orders that it may come in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from run_events import attempt_line
from run_setup import job_of, setup_in

from prealloc.engines.handover import JobEnded, TurnedAway, UnitsReturned
from prealloc.engines.supervisor import JobSupervisor, Processes
from prealloc.errors import CannotGoOn
from prealloc.model.events import AttemptEnded
from prealloc.model.lane import Lane
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.model.plan import Unit
from prealloc.model.policy import RunPolicy
from prealloc.store.fold import Due
from prealloc.store.journal_lines import AttemptLine
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan
from prealloc.worker.in_flight import InFlightTable
from prealloc.worker.job import CleanupJob, UnitOrder, WorkerJob
from prealloc.worker.messages import Broken, Ended, Ready, Retiring, Returned, line


@contextmanager
def supervised(tmp_path: Path, orders: tuple[UnitOrder, ...], **more: Any) -> Iterator[tuple[JobSupervisor, list[Any]]]:
    """A supervisor of two tasks, and the jobs that it starts, without processes. `more` is of its setup and job."""
    lanes = [Lane.checked(name="key")] if more.get("lane") else []
    plan = make_plan(2, repeats=2, lanes=lanes)
    (shard,) = plan.shards
    policy = RunPolicy.checked(concurrency=2, timeout_s=more.get("timeout_s"))
    setup = setup_in(tmp_path, policy, lanes, cleanup=more.get("cleanup"))
    write_plan(plan, setup.paths.plan.root)
    due = [Due(Unit(shard.id, shard.tasks[0].id, 0), 1, ("box",))] if more.get("due") else []
    job = job_of(shard, policy, lane=next(iter(lanes), None), orders=orders, deaths=more.get("deaths", {}), due=due)
    started: list[Any] = []
    processes = Processes(lambda worker, job: started.append(job), lambda worker, now: None, lambda shard: 1, lambda: 0)
    supervisor = JobSupervisor(job, setup, frozenset(), processes)
    supervisor.fill()
    try:
        yield supervisor, started
    finally:
        setup.journal.close()
        for worker in supervisor.workers:
            worker.close()


def infra(job: WorkerJob) -> AttemptLine:
    """The end of the first attempt at the job's first task: it is tried again."""
    return attempt_line(job.shard, job.task_id(0), Status.INFRA, again=True)


def test_a_cleanup_that_could_not_be_started_is_still_due(tmp_path: Path) -> None:
    """The system refuses the process that would clean up: the unit does not run before another one has done it."""
    with supervised(tmp_path, (UnitOrder(0, 0, 2),), cleanup="m:c", due=True) as (supervisor, started):
        supervisor.unborn(supervisor.workers[0])
        supervisor.fill()
        assert [type(job) for job in started] == [CleanupJob, CleanupJob]


def test_what_still_cleans_up_runs_elsewhere_only_when_its_worker_is_gone(tmp_path: Path) -> None:
    """A worker that retires says that a unit is to be tried again, and that its attempt lingers: nothing starts yet."""
    with supervised(tmp_path, (UnitOrder(0, 0, 1), UnitOrder(1, 0, 1))) as (supervisor, started):
        first = supervisor.workers[0]
        again = UnitOrder(0, 0, 2, tries=1)
        ended = Ended(0, infra(started[0]), again, True, True)
        first.far_end.sendall(line(Ready()) + line(Retiring(())) + line(ended))
        supervisor.listen(first)
        assert len(started) == 1
        first.said_bye = True
        supervisor.died(first, 0)
        assert (0, 0, 2) in [order[:3] for job in started[1:] for order in job.orders]


def test_what_ran_in_a_worker_that_stands_still_is_cleaned_up_after_first(tmp_path: Path) -> None:
    """With --cleanup, a running unit that is handed back waits until its worker is gone; others start at once."""
    with supervised(tmp_path, (UnitOrder(0, 0, 1), UnitOrder(1, 0, 1)), cleanup="m:c") as (supervisor, started):
        first = supervisor.workers[0]
        second = started[0].task_id(1)
        first.far_end.sendall(line(Ready()) + line(Retiring((UnitOrder(0, 0, 2), UnitOrder(1, 0, 1)))))
        supervisor.listen(first)
        assert [(job.task_id(order[0]), order[2]) for job in started[1:] for order in job.orders] == [(second, 1)]


@pytest.mark.parametrize(
    "words",
    [line(Ready()) + line(Broken(ErrorInfo(type="X", message="m"), None, None)), b""],
    ids=["it ends the run", "no words"],
)
def test_a_worker_that_has_died_leaves_nothing_open(tmp_path: Path, words: bytes) -> None:
    """Also if its last words end the run: a caller that goes on has its descriptors back."""
    with supervised(tmp_path, (UnitOrder(0, 0, 1),)) as (supervisor, _):
        worker = supervisor.workers[0]
        worker.far_end.sendall(words)
        with contextlib.suppress(CannotGoOn):
            supervisor.died(worker, 9)
        assert worker.channel.fileno() == -1


def test_a_unit_that_was_handed_back_is_not_handed_back_again(tmp_path: Path) -> None:
    """A worker may retire between putting a unit into backoff and telling so: the unit still runs in one place only."""
    with supervised(tmp_path, (UnitOrder(0, 0, 1), UnitOrder(1, 0, 1))) as (supervisor, started):
        first = supervisor.workers[0]
        again = UnitOrder(0, 0, 2, tries=1)
        ended = Ended(0, infra(started[0]), again, True)
        first.far_end.sendall(line(Ready()) + line(Retiring((again,))) + line(ended))
        supervisor.listen(first)
        shipped = [order[:3] for each in started[1:] for order in each.orders]
        assert shipped == [(0, 0, 2)]


@pytest.mark.parametrize("other", [{"task": "elsewhere"}, {"shard": "shard-99"}])
def test_a_worker_that_names_a_unit_it_does_not_hold_is_killed(tmp_path: Path, other: dict[str, str]) -> None:
    """A task may have written into the worker's memory: what it says is not believed, and never an event."""
    with supervised(tmp_path, (UnitOrder(0, 0, 1), UnitOrder(1, 0, 1))) as (supervisor, started):
        worker = supervisor.workers[0]
        wrong = msgspec.structs.replace(infra(started[0]), again=False, **other)
        worker.far_end.sendall(line(Ready()) + line(Ended(0, wrong, None, True)))
        assert supervisor.listen(worker) == []
        assert worker.killed_for == "unreadable"
        assert (0, 0) in worker.undecided


def test_a_worker_gets_the_tasks_of_its_units_alone(tmp_path: Path) -> None:
    """Under their positions in the shard, which mean the same to everybody."""
    with supervised(tmp_path, (UnitOrder(1, 0, 1),)) as (_, started):
        assert {position: started[0].task_id(position) for position in started[0].tasks} == {1: "task-2"}


# -- giving units back --------------------------------------------------------------------------------------

FOUR = tuple(UnitOrder(position, repeat, 1) for repeat in (0, 1) for position in (0, 1))


def returned(events: Iterable[Any]) -> list[list[tuple[int, int]]]:
    """The units (position, repeat) of each UnitsReturned."""
    told = [event for event in events if isinstance(event, UnitsReturned)]
    return [[(order.position, order.repeat) for order in event.units.orders] for event in told]


def test_a_unit_leaves_a_worker_only_when_that_has_said_so(tmp_path: Path) -> None:
    """Asked is not given: until the answer comes they are the worker's. Its death leaves them to the usual rules."""
    with supervised(tmp_path, FOUR) as (supervisor, started):
        worker = supervisor.workers[0]
        worker.far_end.sendall(line(Ready()))
        supervisor.listen(worker)
        assert supervisor.unbegun == 2  # two may run at once
        assert supervisor.hand_back(1) == []
        assert len(worker.undecided) == 4
        worker.far_end.sendall(line(Returned((FOUR[3],))))
        assert returned(supervisor.listen(worker)) == [[(1, 1)]]
        assert len(worker.undecided) == 3
        assert supervisor.hand_back(1) == []
        events = supervisor.died(worker, 9)
        assert returned(events) == [[]]  # the answer to what was asked
        assert [order[:2] for job in started[1:] for order in job.orders] == [(0, 0), (1, 0), (0, 1)]


def test_an_answer_that_came_before_the_death_counts(tmp_path: Path) -> None:
    """The last words of a dead worker are taken in first: what it has let go of is not run here again."""
    with supervised(tmp_path, FOUR) as (supervisor, started):
        worker = supervisor.workers[0]
        supervisor.hand_back(2)
        worker.far_end.sendall(line(Ready()) + line(Returned((FOUR[2], FOUR[3]))))
        assert returned(supervisor.died(worker, 9)) == [[(0, 1), (1, 1)]]
        assert [order[:2] for job in started[1:] for order in job.orders] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("dead", [True, False])
def test_a_worker_that_died_by_itself_was_not_killed_for_its_deadline(tmp_path: Path, dead: bool) -> None:
    """However late the master looks: the silence of a dead process says nothing of its task, which is a suspect.

    One that lives and is as silent is killed, and its task has had its time.
    """
    with supervised(tmp_path, (UnitOrder(0, 0, 1),), timeout_s=1.0) as (supervisor, started):
        worker = supervisor.workers[0]
        process = subprocess.Popen(["true"] if dead else ["sleep", "100"])
        try:
            if dead:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped
            supervisor.born(worker, process.pid)
            table = InFlightTable(os.dup(worker.table_descriptor), worker.most_slots)
            table.enter(0, UnitOrder(0, 0, 1), time.monotonic() - 60)
            worker.made_at -= 60
            supervisor.watch()
            assert worker.killed_for == (None if dead else "deadline")
            events = supervisor.died(worker, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        statuses = [event.status for event in events if isinstance(event, AttemptEnded)]
        assert statuses == ([] if dead else [Status.TIMEOUT])
        assert len(started) == (2 if dead else 1)


def test_a_worker_cannot_give_what_it_does_not_hold(tmp_path: Path) -> None:
    """Twice, say, or what has ended: nobody runs that again."""
    with supervised(tmp_path, FOUR) as (supervisor, started):
        worker = supervisor.workers[0]
        done = msgspec.structs.replace(infra(started[0]), again=False, status=Status.OK)
        worker.far_end.sendall(line(Ready()) + line(Ended(0, done, None, True)) + line(Returned((FOUR[0], FOUR[3]))))
        assert returned(supervisor.listen(worker)) == [[(1, 1)]]
        worker.far_end.sendall(line(Returned((FOUR[3],))))
        assert returned(supervisor.listen(worker)) == [[]]


def test_the_end_of_a_halted_job_leaves_all_that_is_undecided(tmp_path: Path) -> None:
    """With what is known of it: suspects run alone wherever they go, and their deaths are counted on."""
    orders, deaths = (*FOUR[:3], FOUR[3]._replace(attempt=3)), {(1, 1): 1}
    with supervised(tmp_path, orders, deaths=deaths) as (supervisor, _):
        for worker in [*supervisor.workers]:
            supervisor.drain(1000.0)
            events = supervisor.died(worker, 9)
        (ended,) = (event for event in events if isinstance(event, JobEnded))
        assert [(order.position, order.repeat) for order in ended.left.orders] == [(0, 0), (1, 0), (0, 1), (1, 1)]
        assert ended.left.deaths == deaths


@pytest.mark.parametrize("more", [{}, {"cleanup": "m:c"}, {"lingers": True}], ids=["", "cleanup", "lingers"])
def test_what_a_lane_turns_away_is_for_another_one(tmp_path: Path, more: dict[str, Any]) -> None:
    """Without a retry. While its attempt cleans up, or may have to be cleaned up after, it stays until that is over."""
    lingers = more.pop("lingers", False)
    with supervised(tmp_path, FOUR, lane=True, **more) as (supervisor, started):
        worker = supervisor.workers[0]
        error = ErrorInfo(type="Refused", message="401", http_status=401)
        refused = msgspec.structs.replace(infra(started[0]), again=False, error=error, lane="key")
        worker.far_end.sendall(line(Ready()) + line(Ended(0, refused, None, True, lingers)))
        told = supervisor.listen(worker)
        assert [event.ended.status for event in told if isinstance(event, TurnedAway)] == [Status.INFRA]
        supervisor.drain(1000.0)
        worker.far_end.sendall(line(Returned(FOUR[1:])))
        first = returned(supervisor.listen(worker))
        waits = bool(more) or lingers
        assert first == [[(1, 0), (0, 1), (1, 1)] if waits else [(0, 0), (1, 0), (0, 1), (1, 1)]]
        (ended,) = (event for event in supervisor.died(worker, 0) if isinstance(event, JobEnded))
        left = [(order.position, order.attempt, order.tries) for order in ended.left.orders]
        assert left == ([(0, 2, 0)] if waits else [])
