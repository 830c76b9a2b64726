"""Rows D1 to D16: machines, links and masters that fail while shards run on hosts.

Hosts are processes of this machine. Each is behind a wire of the test's own, which can be cut as a link can.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import checker
import pytest
from counting_server import counting_server
from harness import Session, Stage, wait_until
from hosts_lab import HostProcess, HostsLab, Wire, await_death, descendants, ended_in, outcomes, owner, parent_of

from prealloc.files.faultpoint import Point
from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

pytestmark = pytest.mark.fault

LEASE_S = 3.0
"""Where a test waits for its end."""
GATE = 10
"""Bounds here are as many times what `make chaos-hosts` asks for: this machine may be busy."""
PATIENCE = 1.5
"""Leases until a silent host is lost."""


def gates(count: int, **others: object) -> dict[str, object]:
    """Tasks that wait until they are let go."""
    return {**{f"g{n}": {"do": "gate"} for n in range(count)}, **others}


def host_of(session: Session, task: str, hosts: list[HostProcess]) -> HostProcess:
    """Where a task was started last."""
    pids = [int(path.name.rpartition(".")[2]) for path in session.run.parent.glob(f"signals/started.{task}.*")]
    return next(host for host in hosts if any(pid in host.tree() for pid in pids))


def hear(session: Session, name: str) -> float:
    """When a host was told to be lost."""
    told: float = session.wait_for("host_lost", host=name)["told_at"]
    return told


def test_shards_are_spread_over_hosts(stage: Stage) -> None:
    """Four shards on two hosts: two each, though one is there before the other."""
    stage.make_plan(gates(4), shards=4)
    session = stage.start("--engine", "process", "--hosts", "2")
    session.wait_for("shard_started", count=4)
    assert Counter(told["host"] for told in session.of("shard_started")) == {"host-1": 2, "host-2": 2}
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)


def test_a_killed_worker_costs_what_it_costs_on_one_machine(stage: Stage, lab: HostsLab) -> None:
    """D1: kill -9 of a worker is told with its host, its units run again there, and no host is lost."""
    stage.make_plan(gates(4), shards=2)
    session = lab.start(2)
    lab.all_join(session, 2)
    stage.wait_for_start("g0")
    (victim,) = stage.pids("g0")
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    lost = session.wait_for("worker_lost", pid=victim)
    assert lost["told_at"] - killed_at < GATE * 0.2
    assert lost["host"].startswith("host-")
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 4}
    assert not session.of("host_lost", reason="it has ended")
    stage.check(session)


def test_a_killed_host_is_nobodys_fault(stage: Stage) -> None:
    """D2: its tree is gone, its units run again elsewhere, it is known at once, and no acknowledged line is lost."""
    stage.make_plan(gates(4, **{f"t{n}": {"do": "ok"} for n in range(4)}), shards=2)
    session = stage.start("--engine", "process", "--hosts", "2", "--room", "1", "-c", "8")
    stage.wait_for_start("g0", "g1", "g2", "g3")
    session.wait_for("attempt_ended", count=4)
    victim = owner(stage.pids("g0")[0])
    tree = (victim, *descendants(victim))
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    await_death(tree, GATE * 0.1)
    assert session.wait_for("host_lost")["told_at"] - killed_at < GATE * 1.0
    wait_until(lambda: stage.attempts("g0") == 2, "a start elsewhere")
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 8}
    assert max(stage.attempts(f"t{n}") for n in range(4)) == 1
    assert not [line for line in written(session) if line.get("kind") == "death"]
    stage.check(session)


def test_the_engines_worker_is_killed(stage: Stage) -> None:
    """D3: nothing of the hosts that it had is alive; the run ends with 3, and another engine runs the rest."""
    stage.make_plan(gates(2, t0={"do": "ok"}), shards=1)
    session = stage.start("--engine", "process", "-c", "3", "--lease", f"{LEASE_S}s")
    stage.wait_for_start("g0", "g1")
    session.wait_for("attempt_ended")
    host = owner(stage.pids("g0")[0])
    tree = (host, *descendants(host))
    os.kill(parent_of(host), signal.SIGKILL)
    await_death(tree, GATE * 0.5)
    assert session.wait() == 3
    assert "all hosts are gone" in session.output()
    stage.check(session)
    stage.let_go()
    again = stage.resume("--engine", "local")
    assert again.wait() == 0
    assert stage.attempts("t0") == 1
    stage.check(again)


def test_hosts_go_on_without_what_has_started_them(stage: Stage) -> None:
    """D5: what starts hosts is killed, and their own parents live: that is told, and what runs comes to its end."""
    between = stage.root / "python-of-hosts"
    between.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    between.chmod(0o755)
    stage.make_plan(gates(2), shards=1)
    session = stage.start("--engine", "process", "--engine-option", f"python={between}")
    stage.wait_for_start("g0")
    host = owner(stage.pids("g0")[0])
    os.kill(parent_of(parent_of(host)), signal.SIGKILL)
    wait_until(lambda: "no further host can be started" in session.output(), "word of it")
    stage.let_go()
    assert session.wait() == 0
    assert stage.attempts("g0") == 1
    stage.check(session)


def test_hosts_do_not_outlive_their_master(stage: Stage, lab: HostsLab) -> None:
    """D6: idle, busy and hung in C, they are dead in two seconds when the master is killed; the rest is run later."""
    busy = {"busy": {"do": "ok", "s": 0.05}, "hung": {"do": "gil_blocked"}}
    stage.make_plan({**gates(1), **busy, "t0": {"do": "ok"}}, shards=4)
    session = lab.start(3, "--room", "2", "--timeout", "60")
    hosts = [lab.join(session, f"host-{number}", direct=True) for number in (1, 2, 3)]
    stage.wait_for_start("g0", "hung", "t0")
    session.wait_for("attempt_ended", task="t0")
    trees = tuple(pid for host in hosts for pid in host.tree())
    session.kill()
    await_death(trees, GATE * checker.ALIVE_S)
    assert [host.end() for host in hosts] == [3, 3, 3]
    assert any("the master is gone" in host.words() for host in hosts)
    stage.let_go()
    again = stage.resume("--engine", "local", "--timeout", "1")
    assert again.wait() == 1
    assert again.census == {"ok": 3, "timeout": 1}
    assert stage.attempts("t0") == 1
    stage.check(again)


def test_what_was_left_by_the_killed_is_removed(stage: Stage, lab: HostsLab) -> None:
    """Tasks and keys of a host and a master that were killed are there until others of their kind begin, no longer."""
    stage.make_plan(gates(2), shards=2)
    killed = lab.start(2)
    host, other = (lab.join(killed, name, direct=True) for name in ("host-1", "host-2"))
    stage.wait_for_start("g0", "g1")
    with_all = temporary_folders()
    host.kill()
    killed.kill()
    other.end()
    left = temporary_folders()
    assert sorted(len(each) for each in (with_all, left)) == [2, 3]
    assert left < with_all
    session = stage.resume("--engine", "hosts", "--hosts", "1")
    lab.all_join(session, 1)
    assert len(temporary_folders() - left) == 2
    assert not temporary_folders() & left
    stage.let_go()
    assert session.wait() == 0
    wait_until(lambda: not temporary_folders(), "the end of the host")
    stage.check(session)


def temporary_folders() -> set[str]:
    """Of hosts and masters on this machine."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith(("prealloc-host-", "prealloc-join-"))}


def test_a_short_cut_costs_nothing(stage: Stage, lab: HostsLab) -> None:
    """D7: links that end, and one that is silent until that is noticed, within the lease: nothing is run again."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.1} for n in range(60)}, shards=4)
    session = lab.start(2, "--room", "2")
    first, second = lab.all_join(session, 2)
    session.wait_for("attempt_ended", count=4)
    first.wire.drop()
    session.wait_for("attempt_ended", count=8)
    second.wire.cut()
    is_silent = functools.partial(has_state, session, "host-2", "silent")
    wait_until(is_silent, "word that it is silent")
    begun = len(list(stage.signals.iterdir()))
    wait_until(lambda: len(list(stage.signals.iterdir())) > begun or begun == 60, "work without a link")
    second.wire.heal()
    assert session.wait() == 0
    assert session.census == {"ok": 60}
    assert len(list(stage.signals.glob("started.*"))) == 60
    assert not [lost for lost in session.of("host_lost") if "heard" in lost["reason"]]
    stage.check(session)


def test_a_host_that_is_slow_to_join(stage: Stage, lab: HostsLab) -> None:
    """Its lease begins with the master's first word: before that nothing runs there, and a busy machine is slow."""
    stage.make_plan(2)
    session = lab.start(1)
    with contextlib.closing(Wire(lab.spec(session, "host-1").port)) as wire:
        wire.cut()
        lab.join(session, "host-1", direct=True, addresses=["127.0.0.1"], port=wire.port, lease_s=LEASE_S)
        time.sleep(1.2 * LEASE_S)
        wire.heal()
        assert session.wait() == 0
    stage.check(session)


def test_an_isolated_host_ends_itself_and_its_work_is_done_elsewhere(stage: Stage, lab: HostsLab) -> None:
    """D8: a link is cut for longer than the lease: the tree there is dead at the lease; its units run elsewhere."""
    stage.make_plan(gates(2), shards=2)
    session = lab.start(2, "--room", "2", lease=f"{LEASE_S}s")
    hosts = lab.all_join(session, 2)
    stage.wait_for_start("g0", "g1")
    victim = host_of(session, "g0", hosts)
    tree = victim.tree()
    victim.wire.cut()
    cut_at = time.monotonic()
    await_death(tree, LEASE_S + GATE * 0.5)
    assert victim.end() == 3
    assert f"no word from the master for {LEASE_S:g} s" in victim.words()
    assert hear(session, victim.name) - cut_at < PATIENCE * LEASE_S + GATE * 0.5
    wait_until(lambda: stage.attempts("g0") == 2, "a start elsewhere")
    victim.wire.heal()
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)


@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_a_late_line_changes_nothing(how: str, stage: Stage, lab: HostsLab) -> None:
    """D8, D9: a host that is lost, and whose clock stood still, comes back when its units have ended elsewhere.

    It is told that it is gone, and ends. What it says is kept, marked late, and each outcome is what it was.
    """
    stage.make_plan({**gates(2), "t0": {"do": "ok"}, "last": {"do": "gate", "opens_on": "end"}}, shards=1)
    session = lab.start(2, "--room", "1", "-c", "4", lease=f"{LEASE_S}s")
    old = lab.join(session, "host-1", lease_s=600.0, spool=str(stage.root))
    session.wait_for("attempt_ended", task="t0")
    stage.wait_for_start("g0", "g1", "last")
    lab.join(session, "host-2")
    session.wait_for("host_joined", host="host-2")
    stopped = old.freeze() if how == "frozen" else ()
    old.wire.cut()
    hear(session, "host-1")
    wait_until(lambda: stage.attempts("g0") == 2 and stage.attempts("g1") == 2, "starts elsewhere")
    stage.let_go()
    session.wait_for("attempt_ended", task="g0")
    session.wait_for("attempt_ended", task="g1")
    before = outcomes(stage)
    old.thaw(stopped)
    wait_until(lambda: {"g0", "g1"} <= ended_in(stage.root / "host-1" / "journal"), "its own endings")
    old.wire.heal()
    assert old.end() == 1
    assert "sent away" in old.words()
    wait_until(lambda: len(late(session)) >= 2, "late lines")
    assert {line["task"] for line in late(session)} >= {"g0", "g1"}
    assert {line["host"] for line in late(session)} == {"host-1"}
    assert outcomes(stage) == before
    (stage.signals / "end").touch()
    assert session.wait() == 0
    assert session.census == {"ok": 4}
    assert {unit: outcome for unit, outcome in outcomes(stage).items() if unit in before} == before
    stage.check(session)


def test_an_engine_that_runs_a_host_twice(stage: Stage, lab: HostsLab) -> None:
    """D10: the second is sent away, and the first goes on; also one that comes when the first is lost."""
    stage.make_plan(gates(2), shards=1)
    session = lab.start(2, lease=f"{LEASE_S}s")
    first = lab.join(session, "host-1")
    stage.wait_for_start("g0")
    second = lab.join(session, "host-1")
    assert second.end() == 1
    assert "started twice" in second.words()
    lab.join(session, "host-2")
    session.wait_for("host_joined", host="host-2")
    first.kill()
    hear(session, "host-1")
    third = lab.join(session, "host-1")
    assert third.end() == 1
    stage.let_go()
    assert session.wait() == 0
    assert stage.attempts("g0") == 2
    stage.check(session)


def test_a_host_without_space(stage: Stage, lab: HostsLab) -> None:
    """D13: what a host cannot write to its own disk runs elsewhere; the run does not end for it."""
    stage.make_plan(20, shards=2)
    session = lab.start(2, "--room", "1")
    faults = {"PREALLOC_FAULT": f"{Point.WORKER_APPEND}:2:ENOSPC"}
    lab.join(session, "host-1", faults)
    session.wait_for("host_joined", host="host-1")
    lab.join(session, "host-2")
    lost = session.wait_for("host_lost", host="host-1")
    assert "No space left" in lost["reason"]
    assert session.wait() == 0
    assert session.census == {"ok": 20}
    stage.check(session)


def test_a_lane_holds_over_hosts_of_which_one_is_lost(stage: Stage) -> None:
    """D14: the limit holds in every second, also when a host is killed that was given turns."""
    limit = 40
    with counting_server() as server:
        lane = Lane(name="k", shards_at_once=6, queries_per_second=limit)
        tasks = [make_task(f"t{n}", workflow={"requests": 10}) for n in range(24)]
        plan = make_plan(tasks, shards=6, lanes=[lane], settings={"port": server.port, "signals": str(stage.signals)})
        write_plan(plan, stage.plan)
        session = stage.start(
            "--engine", "process", "--hosts", "3", "--room", "2", "-c", "2", worker="lane_agents:saturate"
        )
        session.wait_for("attempt_ended", count=4)
        os.kill(owner(session.of("shard_started")[0]["pid"]), signal.SIGKILL)
        session.wait_for("host_lost")
        assert session.wait() == 0
        assert session.census == {"ok": 24}
        assert server.fullest("k", 1.0) <= limit
    stage.check(session)


def test_a_worker_function_that_is_missing_on_one_host(stage: Stage, lab: HostsLab) -> None:
    """D15: the run is refused with what each host says, before there is a run folder."""
    (stage.root / "odd_one.py").write_text(
        "import os\nif os.environ.get('ODD'):\n    raise RuntimeError(os.environ['ODD'])\n"
        "def act(task, ctx):\n    return True\n"
    )
    stage.make_plan(1)
    environment = {"PYTHONPATH": str(stage.root)}
    words = ("run", str(stage.plan), "--worker", "odd_one:act", "--out", str(stage.run), "--engine", "hosts")
    session = stage.command(*words, "--hosts", "2", environment=environment)
    for name, word in (("host-1", "no driver"), ("host-2", "no licence")):
        lab.join(session, name, {**environment, "ODD": word})
    assert session.wait() == 2
    assert "no driver" in session.output()
    assert "no licence" in session.output()
    assert not stage.run.exists()


def test_another_worker_function_on_a_host_that_joins_late(stage: Stage, lab: HostsLab) -> None:
    """D15: a host whose module is another file takes no part, and is told of; the run goes on."""
    module = stage.root / "changing.py"
    module.write_text("import agents\nact = agents.act\n")
    environment = {"PYTHONPATH": str(stage.root)}
    stage.make_plan(gates(1))
    words = ("run", str(stage.plan), "--worker", "changing:act", "--out", str(stage.run), "--engine", "hosts")
    session = stage.command(*words, "--hosts", "2", environment=environment)
    lab.join(session, "host-1", environment)
    stage.wait_for_start("g0")
    module.write_text("import agents\nact = agents.act  # another one\n")
    other = lab.join(session, "host-2", environment)
    assert "another one than on the first host" in session.wait_for("host_lost", host="host-2")["reason"]
    assert other.end() == 1
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)


def test_a_host_that_is_told_to_end(stage: Stage, lab: HostsLab) -> None:
    """D16: on SIGTERM what runs comes to its end and counts, what has not begun runs elsewhere, and the host leaves."""
    later = {f"t{n}": {"do": "gate", "opens_on": "end"} for n in range(8)}
    stage.make_plan({**gates(1), **later}, shards=1, first="g0")
    session = lab.start(2, "--room", "1", "-c", "1")
    leaves = lab.join(session, "host-1")
    stage.wait_for_start("g0")
    lab.join(session, "host-2")
    session.wait_for("host_joined", host="host-2")
    leaves.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "told to end" in leaves.words(), "word of it")
    stage.let_go()
    assert leaves.end() == 0
    assert "told to end" in session.wait_for("host_lost", host="host-1")["reason"]
    (stage.signals / "end").touch()
    assert session.wait() == 0
    assert session.census == {"ok": 9}
    assert len(list(stage.signals.glob("started.*"))) == 9
    assert {event["host"] for event in session.of("attempt_ended")} == {"host-1", "host-2"}
    stage.check(session)


# -- looking ----------------------------------------------------------------------------------------------------


def has_state(session: Session, host: str, state: str) -> bool:
    """Whether that is how a host was, when it was last told of."""
    told = session.of("hosts_sampled")
    return bool(told) and any(each["host"] == host and each["state"] == state for each in told[-1]["hosts"])


def written(session: Session) -> list[dict[str, Any]]:
    """All lines of the journal."""
    return [line.content for line in checker.journal(session.run, [])]


def late(session: Session) -> list[dict[str, Any]]:
    return [line for line in written(session) if line.get("late")]
