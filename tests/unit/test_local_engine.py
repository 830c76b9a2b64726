"""The local engine without processes: who may start when the kernel's OOM killer has ended workers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from run_setup import job_of, setup_in

from prealloc.engines import local
from prealloc.engines.admission import Admission
from prealloc.engines.base import Checked, WorkerCheck
from prealloc.engines.fork_messages import Born, Died, Happened
from prealloc.engines.handover import JobEnded
from prealloc.engines.local import LocalEngine
from prealloc.model.events import AttemptEnded, Event, Note
from prealloc.model.outcome import Status
from prealloc.model.policy import RunPolicy
from prealloc.processes import cgroups
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan
from prealloc.worker.in_flight import InFlightTable
from prealloc.worker.job import UnitOrder, unpack

SIGKILL = 9
CONCURRENCY = 4
GB = 2**30


class Worker(NamedTuple):
    """A process that is none."""

    pid: int
    shard: str
    slots: int
    orders: list[UnitOrder]
    table: InFlightTable


class NoProcesses:
    """A launcher whose workers begin as many units as they have slots, and end when the test says so."""

    def __init__(self, counter: Path) -> None:
        self.living: list[Worker] = []
        self._counter = counter
        self._kills = 0
        self._pids = 1000
        self._happened: list[Happened] = []
        self._kill(0)

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        job = unpack(payload)
        orders = [UnitOrder(*order) for order in job.orders]
        own = os.dup(table)
        rows = InFlightTable(own, CONCURRENCY)
        os.close(own)
        self._pids += 1
        self.living.append(Worker(self._pids, job.shard, job.slots, orders, rows))
        for slot, order in enumerate(orders[: job.slots]):
            rows.enter(slot, order, time.monotonic())
        self._happened.append(Born(tag, self._pids))

    def oom_kill(self, worker: Worker) -> None:
        """The kernel has chosen this one."""
        self._kill(self._kills + 1)
        self.die(worker, SIGKILL)

    def die(self, worker: Worker, status: int) -> None:
        self.living.remove(worker)
        worker.table.close()
        self._happened.append(Died(worker.pid, status))

    def _kill(self, count: int) -> None:
        self._kills = count
        self._counter.write_text(f"oom_kill {count}\n")

    def happened(self) -> Sequence[Happened]:
        told, self._happened = self._happened, []
        return told

    def check(self, wanted: WorkerCheck) -> Checked:
        return Checked()

    def kill(self, pid: int, *, now: bool = False) -> None:
        raise AssertionError("nobody is to be killed by us")

    def fileno(self) -> int | None:
        return None

    def helpers(self) -> Sequence[int]:
        return []

    def output(self) -> bytes:
        return b""

    def close(self) -> None:
        for worker in self.living:
            worker.table.close()


class Bench:
    """An engine with three shards of four tasks each, all of which have begun."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "proc").mkdir()
        monkeypatch.setattr(cgroups, "PROC", root / "proc")
        monkeypatch.setattr(local, "WATCH_S", 0.0)
        self.launcher = NoProcesses(root / "proc/vmstat")
        self.engine = LocalEngine(self.launcher, admission=lambda size: Admission(size, available=lambda: 100 * GB))
        self.events: list[Event] = []
        policy = RunPolicy.checked(concurrency=CONCURRENCY, drain_s=1.0, start_s=1.0)
        setup = setup_in(root, policy)
        self.journal = setup.journal
        self.engine.open(setup)
        plan = make_plan(12, shards=3)
        write_plan(plan, setup.paths.plan.root)
        for number, shard in enumerate(plan.shards):
            self.engine.launch(job_of(shard, policy, number=number))
        self.settle()

    def settle(self) -> list[tuple[str, int, int]]:
        """Lets the engine take in what has happened. Gives (shard, slots, units) of each worker that lives then."""
        for _ in range(4):
            self.events += self.engine.wait(0.0)
        return sorted((each.shard, each.slots, len(each.orders)) for each in self.launcher.living)

    def of(self, shard: str) -> Worker:
        (worker,) = (each for each in self.launcher.living if each.shard == shard)
        return worker

    def close(self) -> None:
        self.engine.close()
        self.journal.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.close()


A, B, C = "shard-00", "shard-01", "shard-02"


def test_fewer_workers_and_tasks_at_once(bench: Bench) -> None:
    """No more workers than were left when the OOM killer took one; its shard then runs half as many tasks at once."""
    assert bench.settle() == [(A, 4, 4), (B, 4, 4), (C, 4, 4)]
    bench.launcher.oom_kill(bench.of(A))
    assert bench.settle() == [(B, 4, 4), (C, 4, 4)]
    bench.launcher.oom_kill(bench.of(B))
    assert bench.settle() == [(C, 4, 4)]
    bench.launcher.oom_kill(bench.of(C))
    ((_, slots, units),) = bench.settle()
    assert (slots, units) == (2, 4)
    notes = [event.text for event in bench.events if isinstance(event, Note)]
    assert sum("workers run at once; " in note for note in notes) == 2
    assert sum("from now on shard-0" in note for note in notes) == 3
    assert not any(isinstance(event, AttemptEnded) for event in bench.events)


def test_a_death_while_the_count_stands_still(bench: Bench) -> None:
    """SIGKILL from outside: its tasks are suspects, each at once in a worker of its own; nothing is narrowed."""
    bench.launcher.die(bench.of(A), SIGKILL)
    assert bench.settle() == [(A, 1, 1)] * 4 + [(B, 4, 4), (C, 4, 4)]
    assert not any(isinstance(event, Note) for event in bench.events)


def test_what_the_oom_killer_takes_again_and_again(bench: Bench) -> None:
    """Each unit is `out_of_memory` after two deaths while no other worker runs, and the end comes soon."""
    kills = decided = widened = 0
    ended: list[AttemptEnded] = []
    while before := bench.settle():
        bench.launcher.oom_kill(bench.launcher.living[-1])
        kills += 1
        assert kills <= 4 * 12
        after = bench.settle()
        ended = [event for event in bench.events if isinstance(event, AttemptEnded)]
        if len(after) > max(1, len(before) - 1):
            widened += 1
            assert len(ended) > decided  # now it is known for whom fewer had to run
        decided = len(ended)
    assert widened
    assert [event.status for event in ended] == [Status.OUT_OF_MEMORY] * 12
    assert all("killed by the kernel's OOM killer" in event.error.message for event in ended if event.error)
    assert sum(isinstance(event, JobEnded) for event in bench.events) == 3
    assert kills >= 2 * 12
