"""The master's side of hosts, with scripted hosts: whose units are whose, who is lost, and what a loss means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hosts_bench import Bench, Scripted

from prealloc.engines.base import WorkerCheck
from prealloc.engines.handover import JobEnded, TurnedAway, Units, UnitsReturned
from prealloc.engines.hosts import engine, jobs, losses, turns, units, wire
from prealloc.engines.hosts.providers.messages import Gone
from prealloc.errors import EngineError, WorkerFunctionError
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.events import AttemptEnded, HostJoined, HostLost, Note, ShardStarted
from prealloc.model.lane import Lane
from prealloc.model.outcome import Answer, Status
from prealloc.model.plan import Unit
from prealloc.store.fold import Due
from prealloc.store.journal_lines import AttemptBegan, CleanedUp, Noted
from prealloc.worker.job import UnitOrder


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(engine, "CLOSE_S", 0.1)  # these hosts do not hang up
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.engine.close()
    made.journal.close()


A, B, C = "task-1", "task-2", "task-3"


def test_a_lost_host_is_nobodys_fault(bench: Bench) -> None:
    """What it had decided stays; the rest comes back with attempt numbers raised, and another host is asked for."""
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    bench.settle()
    holder = first if first.got and any(isinstance(each, wire.Run) for each in first.got) else second
    holder.ends(A)
    holder.ends(B, status=Status.INFRA, again=True)
    bench.settle()
    assert [event.task for event in bench.events if isinstance(event, AttemptEnded)] == [A, B]
    bench.loses(holder)
    assert [(order.position, order.attempt, order.tries) for order in bench.left()] == [(1, 3, 1), (2, 2, 0)]
    (lost,) = [event for event in bench.events if isinstance(event, HostLost)]
    assert (lost.host, lost.shards) == (holder.name, 1)
    assert bench.provider.asked == ["host-1", "host-2", "host-3"]
    assert bench.statuses() == {A: Status.OK, B: Status.NOT_RUN, C: Status.NOT_RUN}


@pytest.mark.parametrize("order", [("host-1", "host-2"), ("host-2", "host-1")])
def test_first_jobs_are_shared_by_all_hosts_whichever_joins_first(bench: Bench, order: tuple[str, str]) -> None:
    """Four jobs on two hosts: two each, also if one has offered places for all four before the other one has joined."""
    first, second = order
    bench.setup = msgspec.structs.replace(bench.setup, first_jobs=4)
    bench.host(first, room=9)
    bench.engine.open(bench.setup)
    assert bench.launch_as_master(4) == {first: 2}
    bench.host(second)
    bench.link_of(second).beat(9)
    bench.settle()
    assert bench.launch_as_master(2) == {first: 2, second: 2}


def test_the_places_of_a_host_that_does_not_join_are_kept_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then those that are here get all."""
    bench.setup = msgspec.structs.replace(bench.setup, first_jobs=4)
    bench.host("host-1", room=9)
    bench.engine.open(bench.setup)
    assert bench.launch_as_master(4) == {"host-1": 2}
    monkeypatch.setattr(jobs, "JOIN_S", 0.0)
    bench.settle()
    assert bench.launch_as_master(2) == {"host-1": 4}


def test_jobs_go_where_the_smallest_part_of_the_places_is_in_use(bench: Bench) -> None:
    """A host with three times the places gets three times the jobs."""
    small, large = bench.begin("host-1", "host-2")
    small.beat(2)
    large.beat(6)
    bench.settle()
    assert bench.launch_as_master(4) == {"host-1": 1, "host-2": 3}


def test_a_link_that_comes_back_loses_nothing(bench: Bench) -> None:
    """Within the lease nothing runs again: the host goes on where the master has acknowledged it."""
    host, _ = bench.begin("host-1", "host-2")
    bench.engine.allow({})
    bench.launch()
    host = next(each for each in (host, _) if any(isinstance(got, wire.Run) for got in each.got))
    host.ends(A)
    bench.settle()
    acked = host.last(wire.Ack).files
    host.hangs_up()
    assert not bench.settle()
    again = Scripted(bench, host.name)
    bench.settle()
    assert again.last(wire.Welcome).acks == acked
    again._offsets = dict(acked)
    again.ends(B)
    bench.settle()
    assert [event.task for event in bench.events if isinstance(event, AttemptEnded)] == [A, B]
    assert not any(isinstance(event, JobEnded | HostLost) for event in bench.events)


def test_a_host_that_is_started_twice(bench: Bench) -> None:
    """The engine may start it again (a retry, a requeue): the second one is sent away, the first goes on."""
    first, _ = bench.begin("host-1", "host-2")
    second = Scripted(bench, "host-1", launch="two")
    bench.settle()
    assert isinstance(second.got[-1], wire.Gone)
    assert not second.open
    assert first.open
    assert not any(isinstance(event, HostLost) for event in bench.events)


def test_who_was_given_up_stays_so(bench: Bench) -> None:
    """A host that comes back after its units went elsewhere is told so; what it says then changes nothing."""
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    old, new = sorted((first, second), key=lambda each: not any(isinstance(got, wire.Run) for got in each.got))
    bench.loses(old)
    bench.launch(bench.left())
    bench.settle()
    new.ends(A, attempt=2, status=Status.FAILED)
    bench.settle()
    again = Scripted(bench, old.name)
    bench.settle()
    assert isinstance(again.got[-1], wire.Gone)
    again.ends(A)
    again.say(gives_back(UnitOrder(1, 0, 1)))
    assert not bench.settle()
    assert bench.statuses()[A] is Status.FAILED


def test_a_lost_host_cannot_fill_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still sends is kept up to a bound. Then its link ends, its token is void, and nothing more is written."""
    monkeypatch.setattr(units, "MOST_LATE", 1000)
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    lost = next(each for each in (first, second) if any(isinstance(got, wire.Run) for got in each.got))
    bench.loses(lost)
    again = Scripted(bench, lost.name)
    for _ in range(20):
        again.ends(A)
        bench.settle()
    (said,) = again._offsets.values()
    (file,) = bench.paths.journal.glob("shard-*")
    assert len(file.read_bytes().splitlines()) == 1000 // (said // 20) > 0
    assert not again.open
    listener: Any = bench.engine._entrance._listener
    assert lost.name not in listener.tokens
    (note,) = [event.text for event in bench.events if isinstance(event, Note)]
    assert note.startswith(f"{lost.name} is shut out")


def test_what_a_host_has_the_master_remember_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More workers that run at once than can be are a reason to fence it."""
    monkeypatch.setattr(units, "MOST_WORKERS", 3)
    holder, _ = bench.begin("host-1", "host-2")
    bench.launch()
    for pid in range(9):
        holder.say(wire.Told((ShardStarted(shard="shard-00", pid=pid, units=1, incarnation=1, host=holder.name),)))
    bench.settle()
    assert not holder.open


def gives_back(*orders: UnitOrder) -> wire.Message:
    return wire.Told((UnitsReturned(job=1, shard="shard-00", units=Units(orders)),))


@pytest.mark.parametrize(
    "message",
    [
        gives_back(UnitOrder(7, 0, 1)),
        gives_back(UnitOrder(0, 0, 1), UnitOrder(0, 0, 1)),
        wire.Ask("lane", 1, 1, 1),
        wire.Told((HostJoined(host="host-1", machine="m", room=1),)),  # type: ignore[arg-type]
    ],
)
def test_a_host_that_says_what_cannot_be(bench: Bench, message: wire.Message) -> None:
    """It is fenced with a reason, its units go elsewhere, and the run goes on."""
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    host = next(each for each in (first, second) if any(isinstance(got, wire.Run) for got in each.got))
    host.say(message)
    bench.settle()
    assert isinstance(host.last(wire.Gone), wire.Gone)
    assert not host.open
    assert len(bench.left()) == 3
    assert not any(isinstance(event, UnitsReturned) for event in bench.events)


def test_a_unit_that_ends_machines(bench: Bench) -> None:
    """Three hosts lost in a row on a shard: its units go on one at a time, and then two losses are `crashed`."""
    bench.begin("host-1", "host-2")
    for loss in range(5):
        bench.launch(bench.left() if loss else None)
        (holder,) = [host for host in bench.engine._roster if host.jobs]
        (given,) = holder.jobs.values()
        alone = loss >= 3
        assert [*given.undecided] == [(0, 0), (1, 0), (2, 0)][: 1 if alone else 3]
        assert given.job.policy.concurrency == (1 if alone else 4)
        holder.decided = True  # of other shards
        bench.loses(bench.link_of(holder.name))
        bench.host(f"host-{loss + 3}")
    assert bench.statuses() == {A: Status.CRASHED, B: Status.NOT_RUN, C: Status.NOT_RUN}
    assert [order.position for order in bench.left()] == [1, 2]


def test_hosts_that_never_decide_anything(bench: Bench) -> None:
    """Three in a row, soon after they came, and none is left: the engine is broken, and the run says why."""
    bench.begin("host-1", "host-2")
    bench.loses(bench.link_of("host-1"))
    bench.host("host-3")
    bench.loses(bench.link_of("host-2"))
    with pytest.raises(EngineError, match=r"3 hosts in a row.*killed"):
        bench.loses(bench.link_of("host-3"))


def test_hosts_with_another_worker_module(bench: Bench) -> None:
    """A mixture is refused before the run begins; a host that comes later with another one takes no part."""
    one, two = Scripted(bench, "host-1"), Scripted(bench, "host-2")
    bench.settle()
    one.ready("a" * 64)
    two.ready("b" * 64)
    with pytest.raises(WorkerFunctionError, match="not the same on all hosts"):
        bench.engine.check(WorkerCheck("m:f", ()))


def test_what_a_lost_host_has_not_cleaned_up(bench: Bench) -> None:
    """With --cleanup: what began there is cleaned up after, with its notes, before its units run again."""
    bench.setup = msgspec.structs.replace(bench.setup, cleanup="m:sweep")
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    host = next(each for each in (first, second) if any(isinstance(got, wire.Run) for got in each.got))
    began = [AttemptBegan(shard="shard-00", task=task, repeat=0, attempt=1) for task in (A, B)]
    lines = [*began, CleanedUp(shard="shard-00", task=A, repeat=0, attempt=1)]
    lines.append(Noted(shard="shard-00", task=B, repeat=0, attempt=1, value="box"))
    host.say(wire.Lines("shard-00.0001.0001.jsonl", 0), b"".join(msgspec.json.encode(each) + b"\n" for each in lines))
    bench.settle()
    bench.loses(host)
    (ended,) = [event for event in bench.events if isinstance(event, JobEnded)]
    assert ended.left.due == (Due(Unit("shard-00", B, 0), 1, ("box",)),)


def test_a_host_that_is_refused_while_others_work_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, in the place of that one; with nobody at work the run ends, in the engine's words."""
    first, second = bench.begin("host-1", "host-2")
    bench.launch()
    bench.loses(second)
    assert bench.provider.asked[2:] == ["host-3"]
    bench.provider.told.append(Gone("host-3", "too many jobs", refused=True))
    bench.settle()
    (told,) = [event.text for event in bench.events if isinstance(event, Note)]
    assert "too many jobs" in told
    assert bench.provider.asked[2:] == ["host-3"]
    monkeypatch.setattr(losses, "REFUSED_AGAIN_S", 0.0)
    for name in ("host-4", "host-5"):
        bench.engine._look_at = 0.0
        bench.engine._losses._ask_again_at = 0.0
        bench.settle()
        assert bench.provider.asked[-1] == name
        bench.provider.told.append(Gone(name, "too many jobs", refused=True))
        bench.settle()
    assert len([event for event in bench.events if isinstance(event, Note)]) == 1
    first.hangs_up()
    bench.provider.told.append(Gone("host-1", "killed"))
    bench.settle()
    bench.provider.told += [Gone(name, "too many jobs", refused=True) for name in bench.provider.asked[5:]]
    with pytest.raises(EngineError, match="process refuses to start hosts: too many jobs"):
        bench.settle()


def test_no_host_waits_for_turns_without_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that is done makes place for another, one that was never given does not; with too many it is lost."""
    monkeypatch.setattr(turns, "MOST_TURNS", 3)
    lane = Lane(name="k", shards_at_once=1, requests_per_minute=1)
    bench.setup = msgspec.structs.replace(bench.setup, limiter=RateLimiter([lane], bench.policy))
    host, _ = bench.begin("host-1", "host-2")
    bench.launch(lane=lane)
    bench.settle()
    for turn in (1, 2, 3):
        host.say(wire.Ask("k", 1, turn, 0))
    bench.settle()
    assert [turn.turn for turn in host.last(wire.Go).turns] == [1]
    host.say(wire.Done("k", 1, 1, 0, Answer()))
    host.say(wire.Ask("k", 1, 4, 0))
    for turn in (2, 3, 99):
        host.say(wire.Done("k", 1, turn, 0, Answer()))
    bench.settle()
    assert not [event for event in bench.events if isinstance(event, HostLost)]
    host.say(wire.Ask("k", 1, 5, 0))
    bench.settle()
    (lost,) = [event for event in bench.events if isinstance(event, HostLost)]
    assert "more than 3 turns" in lost.reason


def test_what_a_lane_has_turned_away_runs_elsewhere(bench: Bench) -> None:
    """Also where the host has not heard that the lane has halted, and so does not give the unit back."""
    lane = Lane(name="k", shards_at_once=2)
    limiter: RateLimiter[Any] = RateLimiter([lane], bench.policy)
    bench.setup = msgspec.structs.replace(bench.setup, limiter=limiter)
    holder, _ = bench.begin("host-1", "host-2")
    bench.launch(lane=lane)
    limiter.ended("k", Status.INFRA, 401)
    holder.ends(A, lane="k", status=Status.INFRA)
    holder.ends(B, lane="k")
    holder.ends(C, lane="other", status=Status.INFRA)
    holder.say(wire.Told((JobEnded(job=1, shard="shard-00"),)))
    bench.settle()
    (away,) = [event.ended.task for event in bench.events if isinstance(event, TurnedAway)]
    assert away == A
    assert [(order.position, order.attempt) for order in bench.left()] == [(0, 2)]
