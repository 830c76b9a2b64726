"""`python -m tests.chaos.hosts`: measures the gates of hosts that are cut off, frozen, killed and run twice.

Hosts are processes of this machine. Exits with 1 if a gate is missed; a loaded machine may miss one by itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import checker
from counting_server import counting_server
from harness import PATIENCE_S, Session, Stage, wait_until
from hosts_lab import await_death, descendants, ended_in, hosts_lab, outcomes, owner

from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task
from tests.chaos.gate import Gate, machine, options, report
from tests.chaos.place import Measured, Place, tell

LEASE_S = 3.0
KILLS, ACKNOWLEDGED = 100, 10_000
UNITS, SHARDS, CONCURRENCY = 400, 4, 4
LIMIT_PER_S, LANE_S = 40, 10


def short_cuts(place: Place, trials: int) -> Gate:
    """D7: a link is cut until that is noticed, and healed within the lease: starts beyond one for each unit."""
    again = Measured([])
    for number in range(trials):
        tell(f"D7: {number + 1} of {trials}")
        with place.stage("D7") as stage, hosts_lab(stage) as lab:
            stage.make_plan({f"t{n}": {"do": "ok", "s": 0.1} for n in range(80)}, shards=4)
            session = lab.start(2, "--room", "2")
            hosts = lab.all_join(session, 2)
            session.wait_for("attempt_ended", count=4)
            cut = hosts[number % 2]
            cut.wire.cut()
            wait_until(lambda session=session: _is_silent(session), "word of it")
            cut.wire.heal()
            assert session.wait() == 0
            again.values.append(len(list(stage.signals.glob("started.*"))) - 80)
            stage.check(session)
    return Gate("D7", "link cut within the lease: units run again", 0, "", again.worst, trials)


def _is_silent(session: Session) -> bool:
    told = session.of("hosts_sampled")
    return bool(told) and any(host["state"] == "silent" for host in told[-1]["hosts"])


def long_cuts(place: Place, trials: int) -> list[Gate]:
    """D8: from the cut of a link until nothing of the host is alive, and until its work runs elsewhere."""
    dead, elsewhere = Measured([]), Measured([])
    for number in range(trials):
        tell(f"D8: {number + 1} of {trials}")
        with place.stage("D8") as stage, hosts_lab(stage) as lab:
            stage.make_plan({f"g{n}": {"do": "gate"} for n in range(4)}, shards=1)
            session = lab.start(2, "-c", "4", lease=f"{LEASE_S}s")
            first = lab.join(session, "host-1")
            stage.wait_for_start("g0", "g1", "g2", "g3")
            lab.join(session, "host-2")
            session.wait_for("host_joined", host="host-2")
            tree = first.tree()
            cut_at = time.monotonic()
            first.wire.cut()
            dead.values.append(await_death(tree, PATIENCE_S))
            wait_until(lambda stage=stage: len(list(stage.signals.glob("started.*"))) == 8, "starts elsewhere")
            elsewhere.values.append(time.monotonic() - cut_at)
            stage.let_go()
            assert session.wait() == 0
            stage.check(session)
    name = f"link cut for longer than a lease of {LEASE_S:g} s: the isolated tree is dead"
    return [
        Gate("D8", name, LEASE_S + 0.5, "s", dead.worst, len(dead.values), dead.told),
        Gate("D8", "its work runs elsewhere", 1.5 * LEASE_S + 1, "s", elsewhere.worst, trials, elsewhere.told),
    ]


def thaws(place: Place, trials: int) -> Gate:
    """D9: a machine stands still until its work is done elsewhere, and goes on: outcomes that differ then."""
    changed = Measured([])
    for number in range(trials):
        tell(f"D9: {number + 1} of {trials}")
        with place.stage("D9") as stage, hosts_lab(stage) as lab:
            stage.make_plan(
                {**{f"g{n}": {"do": "gate"} for n in range(3)}, "last": {"do": "gate", "opens_on": "end"}}, shards=1
            )
            session = lab.start(2, "--room", "1", "-c", "4", lease=f"{LEASE_S}s")
            old = lab.join(session, "host-1", lease_s=600.0, spool=str(stage.root))
            stage.wait_for_start("g0", "g1", "g2", "last")
            lab.join(session, "host-2")
            session.wait_for("host_joined", host="host-2")
            stopped = old.freeze()
            session.wait_for("host_lost", host="host-1")
            stage.let_go()
            for task in ("g0", "g1", "g2"):
                session.wait_for("attempt_ended", task=task)
            before = outcomes(stage)
            old.thaw(stopped)
            assert old.end() == 1
            after = outcomes(stage)
            changed.values.append(sum(after.get(unit) != outcome for unit, outcome in before.items()))
            (stage.signals / "end").touch()
            assert session.wait() == 0
            stage.check(session)
            assert ended_in(stage.root / "host-1" / "journal") <= {"g0", "g1", "g2", "last"}
    return Gate("D9", "host frozen past its lease, and thawed: outcomes changed", 0, "", changed.worst, trials)


def twice(place: Place, trials: int) -> Gate:
    """D10: the second of two hosts of one name is sent away, and the first one's units start once."""
    away = 0
    for number in range(trials):
        tell(f"D10: {number + 1} of {trials}")
        with place.stage("D10") as stage, hosts_lab(stage) as lab:
            stage.make_plan({"g0": {"do": "gate"}}, shards=1)
            session = lab.start(1)
            both = [lab.join(session, "host-1"), lab.join(session, "host-1")]
            stage.wait_for_start("g0")
            wait_until(lambda both=both: any(each.process.poll() is not None for each in both), "the end of one")
            ended = [each.process.poll() for each in both]
            stage.let_go()
            assert session.wait() == 0
            away += sorted(code is None for code in ended) == [False, True] and 1 in ended
            assert stage.attempts("g0") == 1
            stage.check(session)
    return Gate("D10", "engine runs a host twice: one is sent away", trials, "", away, trials, least=True)


def kills(place: Place, rng: random.Random, most: int, acknowledged: int, limit_s: float) -> list[Gate]:
    """D2, D6, D11: SIGKILL to the master and to hosts in turn, at random moments, until enough is acknowledged."""
    killed = {"master": 0, "host": 0}
    told, lost, runs = 0, 0, 0
    alive = Measured([])
    until = time.monotonic() + limit_s
    while (min(killed.values()) < most or told < acknowledged) and time.monotonic() < until:
        broken = len(place.broken)
        with place.stage("D2, D6") as stage:
            stage.make_plan({f"t{n:03}": {"do": "ok", "s": 0.02} for n in range(UNITS)}, shards=SHARDS)
            code: int | None = None
            while code is None:
                session = _go_on(stage)
                while session.process.poll() is None:
                    whom = min(killed, key=lambda each: killed[each])
                    if not _some_time(session, rng):
                        break
                    if whom == "host":
                        killed["host"] += _kill_a_host(stage, rng)
                        continue
                    killed["master"] += 1
                    killed_at = time.monotonic()
                    session.kill()
                    while checker.survivors(stage.marker) and time.monotonic() < killed_at + PATIENCE_S:
                        time.sleep(0.01)
                    alive.values.append(time.monotonic() - killed_at)
                code = session.end() if session.exit_code is None and session.process.poll() != -9 else None
                told += len(session.of("attempt_ended"))
                if (stage.run / "run.json").exists():
                    stage.check(session, back=code is not None)
                code = None if code == 3 else code  # all its hosts were lost: it can be gone on with
            assert session.census == {"ok": UNITS}
            runs += 1
        lost += sum(line.count("I1") + line.count("I3") for line in place.broken[broken:])
        tell(f"D2, D6: {killed['master']} and {killed['host']} of {most} kills, {told:,} acknowledged, {lost} lost")
    return [
        Gate("D6", "kills of the master", most, "", killed["master"], killed["master"], least=True),
        Gate("D2", "kills of hosts", most, "", killed["host"], killed["host"], least=True),
        Gate("D11", "acknowledged results", acknowledged, "", told, told, f"in {runs} runs", least=True),
        Gate("D11", "of them lost, changed or accepted twice", 0, "", lost, told),
        Gate("D6", "master killed: nothing is alive", LEASE_S + 1, "s", alive.worst, len(alive.values), alive.told),
    ]


def _go_on(stage: Stage) -> Session:
    if (stage.run / "run.json").exists():
        return stage.resume()
    hosts = ("--engine", "process", "--hosts", "2", "--room", "2", "--lease", f"{LEASE_S:g}s")
    return stage.start(*hosts, "-c", str(CONCURRENCY))


def _some_time(session: Session, rng: random.Random) -> bool:
    """Waits for some results more, and a moment; whether it still runs."""
    until = time.monotonic() + PATIENCE_S
    wanted = len(session.of("attempt_ended")) + rng.randint(1, 120)
    while len(session.of("attempt_ended")) < wanted and session.process.poll() is None:
        assert time.monotonic() < until, f"it does not go on: {session.output()[-2000:]}"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    return session.process.poll() is None


def _kill_a_host(stage: Stage, rng: random.Random) -> int:
    hosts = [pid for pid, command in stage.alive().items() if "prealloc.engines.hosts.start" in command]
    if not hosts:
        return 0
    os.kill(rng.choice(hosts), signal.SIGKILL)
    return 1


def lanes(place: Place, trials: int) -> list[Gate]:
    """D14: a lane over three hosts, one of which is killed while it holds turns."""
    fullest, used = Measured([]), Measured([])
    for number in range(trials):
        tell(f"D14: {number + 1} of {trials}")
        with place.stage("D14") as stage, counting_server() as server:
            lane = Lane(name="k", shards_at_once=6, queries_per_second=LIMIT_PER_S)
            tasks = [make_task(f"t{n}", workflow={"requests": LIMIT_PER_S * LANE_S // 48}) for n in range(48)]
            write_plan(make_plan(tasks, shards=6, lanes=[lane], settings={"port": server.port}), stage.plan)
            hosts = ("--engine", "process", "--hosts", "3", "--room", "3", "-c", "4")
            session = stage.start(*hosts, worker="lane_agents:saturate")
            session.wait_for("attempt_ended", count=12)
            victim = owner(session.of("shard_started")[0]["pid"])
            tree = (victim, *descendants(victim))
            os.kill(victim, signal.SIGKILL)
            await_death(tree, PATIENCE_S)
            assert session.wait(LANE_S * 8) == 0
            fullest.values.append(server.fullest("k", 1.0) / LIMIT_PER_S)
            used.values.append(server.rate("k") / LIMIT_PER_S)
            stage.check(session)
    least = min(used.values, default=None)
    return [
        Gate("D14", "fullest second of a lane, one of three hosts lost", 1.0, "x", fullest.worst, len(fullest.values)),
        Gate("D14", "of its rate used", 0.95, "x", least, len(used.values), least=True),
    ]


def main() -> int:
    asked = options("tests.chaos.hosts", __doc__, minutes=20.0)
    seed: int = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    share = 20 if asked.quick else 1
    tell(f"seed {seed}")
    about = {**machine(), "seed": str(seed)}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="prealloc-chaos-") as folder:
        place = Place(Path(folder))
        gates: list[Gate] = []
        for measured in (
            lambda: [short_cuts(place, max(1, 10 // share))],
            lambda: long_cuts(place, max(1, 10 // share)),
            lambda: [thaws(place, max(1, 10 // share))],
            lambda: [twice(place, max(1, 10 // share))],
            lambda: lanes(place, max(1, 3 // share)),
            lambda: kills(place, rng, KILLS // share, ACKNOWLEDGED // share, asked.minutes * 60 / share),
        ):
            for gate in measured():
                gates.append(gate)
                tell(f"  {gate.row} {gate.name}: {gate.measured} {gate.unit}, at {gate.limit:g}: {gate.verdict}")
    if asked.quick:
        tell("quick: a smoke test, its figures are those of a twentieth of the trials")
    return report(about, gates, place.broken, asked.json)


if __name__ == "__main__":
    sys.exit(main())
