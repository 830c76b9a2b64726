"""Rows 1 to 10: one fault a trial, and how long it takes until it is dealt with."""

from __future__ import annotations

import os
import random
import signal
import time

import checker
from harness import PATIENCE_S, wait_until

from tests.chaos.gate import Gate
from tests.chaos.place import Measured, Place, started_at, tell

LIMIT_S = 1.0
"""--timeout of the tasks that hang."""
KILL_STEP_S = 0.2
"""Between SIGTERM and SIGKILL."""
GATE_S = 0.5
HANGS = ("loop", "sleep", "silent_socket", "dripping_socket", "gil_blocked", "gil_spinning")
PLIGHTS = {
    "idle": {"do": "gate"},
    "busy": {"do": "ok", "s": 0.05},
    "hung in C": {"do": "gil_blocked"},
    "with setsid children": {"do": "family"},
}


def worker_deaths(place: Place, rng: random.Random, sessions: int) -> Gate:
    """Row 1: from the SIGKILL of a worker to the event that tells it."""
    took = Measured([])
    for number in range(sessions):
        tell(f"row 1: session {number + 1} of {sessions}")
        with place.stage("row 1") as stage:
            stage.make_plan({f"t{n}": {"do": "gate"} for n in range(16)}, shards=4)
            session = stage.start("-c", "4", "--workers", "4")
            stage.wait_for_start(*(f"t{n}" for n in range(16)))
            for started in session.of("shard_started"):
                time.sleep(rng.uniform(0.1, 0.3))
                killed_at = time.monotonic()
                os.kill(started["pid"], signal.SIGKILL)
                took.values.append(session.wait_for("worker_lost", pid=started["pid"])["told_at"] - killed_at)
            stage.let_go()
            assert session.wait() == 0
            stage.check(session)
    return Gate("1", "SIGKILL of a worker is known", 0.2, "s", took.worst, len(took.values), took.told)


def hangs(place: Place, trials: int, grace_s: float) -> list[Gate]:
    """Rows 4 to 6 and 8: how far over --timeout a hung task is decided, and the next one starts."""
    gates: list[Gate] = []
    back = Measured([])
    for how, worker in (*((how, "agents:act") for how in HANGS), ("sleep", "agents:act_async")):
        name = how.replace("_", " ") + (", async" if worker.endswith("async") else "")
        over = Measured([])
        for number in range(trials):
            tell(f"rows 4-6: {name}, {number + 1} of {trials}")
            with place.stage(f"rows 4-6, {name}") as stage:
                stage.make_plan({"hang": {"do": how}, "next": {"do": "ok"}}, first="hang")
                session = stage.start("--timeout", f"{LIMIT_S:g}", "--grace", f"{grace_s:g}", worker=worker)
                assert session.wait() == 1
                (ended,) = session.of("attempt_ended", task="hang")
                limit_at = started_at(stage, "hang") + LIMIT_S
                over.values.append(max(ended["told_at"] - limit_at, ended["working_s"] - LIMIT_S))
                back.values.append(started_at(stage, "next") - limit_at)
                stage.check(session)
        row = {"dripping_socket": "8", "loop": "4", "sleep": "5", "silent_socket": "5"}.get(how, "6")
        gates.append(
            Gate(row, f"timeout of: {name}, grace {grace_s:g} s", GATE_S, "s", over.worst, len(over.values), over.told)
        )
    gates.append(
        Gate(
            "4-8", f"capacity back after it, grace {grace_s:g} s", GATE_S, "s", back.worst, len(back.values), back.told
        )
    )
    return gates


def families(place: Place, trials: int, grace_s: float) -> Gate:
    """Row 7: a hung task with children that ignore SIGTERM, one in a session of its own: until all are dead."""
    took = Measured([])
    for number in range(trials):
        then = ("sleep", "gil_blocked")[number % 2]
        tell(f"row 7: {number + 1} of {trials}")
        with place.stage(f"row 7, {then}") as stage:
            count = 8 + round(2 * grace_s)
            others = {f"t{n}": {"do": "ok", "s": 0.6} for n in range(count)}  # they keep the run going
            stage.make_plan({"family": {"do": "family", "then": then}, **others}, first="family")
            session = stage.start("--timeout", f"{LIMIT_S:g}", "--grace", f"{grace_s:g}")
            wait_until((stage.signals / "family").exists, "the family")
            limit_at = started_at(stage, "family") + LIMIT_S + max(grace_s, KILL_STEP_S)
            wait_until(lambda stage=stage: any("trap" in line for line in stage.alive().values()), "shells")
            wait_until(lambda stage=stage: not any("trap" in line for line in stage.alive().values()), "their end")
            took.values.append(time.monotonic() - limit_at)
            assert session.process.poll() is None, "the run ended too early to tell"
            session.signal(signal.SIGINT)
            session.wait()
            stage.check(session)
    name = f"whole tree of a hung task is dead, after a grace of {grace_s:g} s"
    return Gate("7", name, GATE_S, "s", took.worst, len(took.values), took.told)


def master_deaths(place: Place, rng: random.Random, trials: int) -> list[Gate]:
    """Row 10: from the SIGKILL of the master until nothing of its run is alive."""
    took = Measured([])
    clean = 0
    for number in range(trials):
        plight = list(PLIGHTS)[number % len(PLIGHTS)]
        if number % 10 == 0:
            tell(f"row 10: {number} of {trials}, {clean} without a survivor")
        with place.stage(f"row 10, {plight}") as stage:
            harm = {f"harm{n}": PLIGHTS[plight] for n in range(4)}
            stage.make_plan({**harm, **{f"t{n}": {"do": "gate"} for n in range(4)}}, shards=2)
            session = stage.start("-c", str(rng.choice((1, 4))), "--timeout", "60")
            wait_until(lambda stage=stage: len(list(stage.signals.glob("started.*"))) >= 2, "two starts")
            time.sleep(rng.uniform(0, 0.2))
            killed_at = time.monotonic()
            session.kill()
            while checker.survivors(stage.marker) and time.monotonic() < killed_at + PATIENCE_S:
                time.sleep(0.01)
            took.values.append(time.monotonic() - killed_at)
            clean += took.values[-1] <= checker.ALIVE_S
            stage.check(session)
    return [
        Gate("10", "SIGKILL of the master: nothing is alive", 2.0, "s", took.worst, len(took.values), took.told),
        Gate("10", "runs without a survivor after 2 s", trials, "", clean, trials, ", ".join(PLIGHTS), least=True),
    ]
