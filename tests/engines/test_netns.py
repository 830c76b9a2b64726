"""Rows D2 and D7 to D9 between machines with links of their own, which are really taken down: network namespaces."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from harness import Session, Stage, wait_until
from hosts_lab import HostProcess, HostsLab, await_death, hosts_lab
from netns import Machines

pytestmark = pytest.mark.fault

LEASE_S = 3.0
GATE = 10
"""Bounds here are as many times what `make chaos-hosts` asks for."""


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines(3)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def lab(tmp_path: Path, machines: Machines) -> Iterator[HostsLab]:
    stage = Stage(tmp_path)
    try:
        with hosts_lab(stage) as made:
            yield made
    finally:
        for number in machines.numbers:
            machines.heal(number)
        stage.clean_up()


def start(lab: HostsLab, machines: Machines, *options: str, lease_s: float = 60.0) -> Session:
    """A run that waits for a host on each machine."""
    return lab.start(machines.count, "--listen", machines.here, *options, lease=f"{lease_s}s")


def join(lab: HostsLab, machines: Machines, session: Session, number: int) -> HostProcess:
    """The host on that machine, when it is there."""
    wrap = machines.inside(number, sys.executable, "-m", "prealloc")
    host = lab.join(session, f"host-{number}", direct=True, wrap=wrap)
    joined = session.wait_for("host_joined", host=host.name)
    assert joined["machine"] == machines.name(number)
    return host


def test_a_link_that_is_down_for_a_while(lab: HostsLab, machines: Machines) -> None:
    """D7: longer than it takes to notice, shorter than the lease: nothing is run again, on any machine."""
    stage = lab.stage
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(30)}, shards=3)
    session = start(lab, machines, "--room", "1", "-c", "10")
    for number in machines.numbers:
        join(lab, machines, session, number)
    stage.wait_for_start(*(f"g{n}" for n in range(30)))
    machines.cut(2)

    def is_silent() -> bool:
        told = session.of("hosts_sampled")
        return (
            any(each["host"] == "host-2" and each["state"] == "silent" for each in told[-1]["hosts"]) if told else False
        )

    wait_until(is_silent, "word that it is silent")
    stage.let_go()
    session.wait_for("attempt_ended", count=20)
    machines.heal(2)
    assert session.wait() == 0
    assert session.census == {"ok": 30}
    assert len(list(stage.signals.glob("started.*"))) == 30
    assert [host.end() for host in lab.hosts] == [0, 0, 0]
    stage.check(session)


def test_a_machine_that_is_cut_off(lab: HostsLab, machines: Machines) -> None:
    """D8: for longer than the lease: nothing of it is alive, its work is done elsewhere, and its link may heal."""
    stage = lab.stage
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(3)}, shards=1)
    session = start(lab, machines, "-c", "3", lease_s=LEASE_S)
    first = join(lab, machines, session, 1)
    stage.wait_for_start("g0", "g1", "g2")
    join(lab, machines, session, 2)
    tree = first.tree()
    assert set(stage.pids("g0")) <= set(tree)
    machines.cut(1)
    cut_at = time.monotonic()
    await_death(tree, LEASE_S + GATE * 0.5)
    lost = session.wait_for("host_lost", host="host-1")
    assert lost["told_at"] - cut_at < 1.5 * LEASE_S + GATE * 0.5
    wait_until(lambda: stage.attempts("g0") == 2, "a start elsewhere")
    machines.heal(1)
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)


def test_a_machine_that_stands_still(lab: HostsLab, machines: Machines) -> None:
    """D9: past its lease: lost, and its work is done elsewhere; when it goes on it ends, and outcomes are the same."""
    stage = lab.stage
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(3)} | {"last": {"do": "gate", "opens_on": "end"}}, shards=1)
    session = start(lab, machines, "-c", "4", lease_s=LEASE_S)
    first = join(lab, machines, session, 1)
    stage.wait_for_start("g0", "g1", "g2", "last")
    join(lab, machines, session, 2)
    machines.freeze(1)
    session.wait_for("host_lost", host="host-1")
    stage.let_go()
    for task in ("g0", "g1", "g2"):
        session.wait_for("attempt_ended", task=task)
    machines.thaw(1)
    assert first.end() in (1, 3)
    (stage.signals / "end").touch()
    assert session.wait() == 0
    assert session.census == {"ok": 4}
    stage.check(session)


def test_a_machine_without_power(lab: HostsLab, machines: Machines) -> None:
    """D2, D4: all that ran there is gone, with its link: nobody tells, and its work is done elsewhere."""
    stage = lab.stage
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(2)}, shards=1)
    session = start(lab, machines, "-c", "2", lease_s=LEASE_S)
    join(lab, machines, session, 1)
    stage.wait_for_start("g0", "g1")
    join(lab, machines, session, 2)
    machines.cut(1)
    machines.kill(1)
    session.wait_for("host_lost", host="host-1")
    wait_until(lambda: stage.attempts("g0") == 2, "a start elsewhere")
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)
