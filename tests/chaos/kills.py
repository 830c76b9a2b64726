"""Row 11: the master dies hundreds of times, at random moments and at every fault point, and is gone on with."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import checker
from harness import Session, Stage

from prealloc.files.faultpoint import Point
from tests.chaos.gate import Gate
from tests.chaos.place import Place, tell

SHARDS, WORKERS, CONCURRENCY, UNITS, WORK_S = 4, 6, 4, 600, 0.05
"""More workers than shards: from the start, those that are free take units of the shards that are not done."""
LANES = 3
"""Runs that are tormented at the same time: a third of a session is waiting."""

OFTEN = (
    Point.ENDING_HEARD,
    Point.ATTEMPT_OFF,
    Point.ATTEMPT_FINISHED,
    Point.WORKER_APPEND,
    Point.ATTEMPT_WRITTEN,
    Point.ATTEMPT_LANDED,
    Point.ATTEMPT_TOLD,
)
"""Passed for every task: the passage is drawn from the first MOST."""
MOST = 80
PER_WORKER = (
    Point.SHARD_LAUNCH,
    Point.SHIP_PAYLOAD,
    Point.SHIP_SEND,
    Point.SHIP_SENT,
    Point.LOG_OPEN,
    Point.FORK_ASKED,
    Point.FORK_FORKED,
    Point.SUPERVISOR_WORKER,
    Point.WORKER_BORN,
    Point.WORKER_OPEN,
    Point.WORKER_READY,
)
"""Passed once for each of the shards."""
MOVING = (
    Point.UNITS_ASKED,
    Point.WORKER_HANDING_BACK,
    Point.WORKER_HANDED_BACK,
    Point.UNITS_RETURNED,
    Point.UNITS_WAITING,
)
"""Passed when units move: at least once for each worker that is free."""
PER_SESSION = (Point.LOCK_OPEN, Point.LOCK_WRITE, Point.SUPERVISOR_OPEN, Point.SUPERVISOR_SESSION)


class Count:
    """What all lanes have done so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kills = 0
        self.at_points: Counter[str] = Counter()
        self.acknowledged = 0
        self.lost = 0
        self.again = 0
        self.in_flight = 0
        self.runs = 0
        self.moves = 0
        """Workers that were started for units of a shard that had one."""


def master_kills(place: Place, seed: int, *, kills: int, acknowledged: int, limit_s: float) -> list[Gate]:
    """Torments runs until so many kills and acknowledged results have come together, or the time is over."""
    count = Count()
    until = time.monotonic() + limit_s

    def enough() -> bool:
        return (count.kills >= kills and count.acknowledged >= acknowledged) or time.monotonic() > until

    def lane(number: int) -> None:
        rng = random.Random(f"{seed} lane {number}")
        while not enough():
            with place.stage("row 11") as stage:
                _torment(stage, rng, count)

    with ThreadPoolExecutor(LANES) as lanes:
        running = [lanes.submit(lane, number) for number in range(LANES)]
        while not all(each.done() for each in running):
            time.sleep(1)
            if int(time.monotonic()) % 10 == 0:
                tell(f"row 11: {count.kills} of {kills} kills, {count.acknowledged:,} acknowledged, {count.lost} lost")
        for each in running:
            each.result()
    at_points = sum(count.at_points.values())
    told = f"{count.kills - at_points} at random moments, {at_points} at {len(count.at_points)} fault points"
    row = f"{count.again} run again, {count.in_flight} were in row"
    return [
        Gate("11", "kills of the master", kills, "", count.kills, count.kills, told, least=True),
        Gate("11", "acknowledged results", acknowledged, "", count.acknowledged, count.acknowledged, least=True),
        Gate("11", "of them lost, or changed", 0, "", count.lost, count.acknowledged, f"in {count.runs} runs"),
        Gate("11", "units moved to a free worker", kills // 10, "times", count.moves, count.moves, least=True),
        Gate("11", "run again beyond what was in row", 0, "", max(0, count.again - count.in_flight), 1, row),
    ]


def _torment(stage: Stage, rng: random.Random, count: Count) -> None:
    """One run, from its start to its end, through as many deaths as it takes."""
    stage.make_plan({f"t{n:03}": {"do": "ok", "s": WORK_S} for n in range(UNITS)}, shards=SHARDS)
    in_flight = 0
    while True:
        fault = _draw(rng) if rng.random() < 0.5 else None
        session = _go_on(stage, None if fault is None else f"{fault[0]}:{fault[1]}:kill-master")
        if fault is None:
            _kill_some_time(session, rng)
        killed = session.end() is None
        told = len(session.of("attempt_ended"))
        _check(stage, session, count, killed=killed)
        with count.lock:
            count.kills += killed
            count.acknowledged += told
            count.moves += _moves(session)
            if killed and fault is not None:
                count.at_points[fault[0]] += 1
        if not killed:
            break
        if (stage.run / "run.json").exists():
            in_flight += len(_started(stage) - _final(stage))
    assert session.exit_code == 0, session.output()[-2000:]
    assert session.census == {"ok": UNITS}
    starts = len(list(stage.signals.glob("started.*")))
    with count.lock:
        count.runs += 1
        count.again += starts - UNITS
        count.in_flight += in_flight
    assert starts - UNITS <= in_flight, f"{starts - UNITS} run again, {in_flight} were in row"


def _draw(rng: random.Random) -> tuple[Point, int]:
    """A fault point, and which passage of it."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(OFTEN), rng.randint(1, MOST)
    if kind < 0.75:
        return rng.choice(PER_WORKER), rng.randint(1, SHARDS)
    if kind < 0.9:
        return rng.choice(MOVING), rng.randint(1, WORKERS - SHARDS)
    return rng.choice(PER_SESSION), 1


def _go_on(stage: Stage, faults: str | None) -> Session:
    if (stage.run / "run.json").exists():
        return stage.resume(faults=faults)
    return stage.start("-c", str(CONCURRENCY), "--workers", str(WORKERS), faults=faults)


def _kill_some_time(session: Session, rng: random.Random) -> None:
    """After some results, or at some moment of the start; unless it ends before."""
    results = rng.randint(0, 70) if rng.random() < 0.9 else 0
    until = time.monotonic() + 30
    while len(session.of("attempt_ended")) < results and session.process.poll() is None:
        assert time.monotonic() < until, f"it does not go on: {session.output()[-2000:]}"
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05 if results else 0.8))
    session.process.kill()  # does nothing to one that has ended


def _check(stage: Stage, session: Session, count: Count, *, killed: bool) -> None:
    if not (stage.run / "run.json").exists():
        assert not stage.run.exists(), "a run folder that is not whole"
        return
    try:
        # After each kill what this session told; at the end of the run what all sessions of it have told.
        stage.check(session, back=not killed)
    except AssertionError as error:
        with count.lock:
            count.lost += sum(line.startswith("I1") for line in str(error).splitlines())
        raise


def _moves(session: Session) -> int:
    """No worker dies alone here: each further one of a shard was started for units that another had handed back."""
    shards = [started["shard"] for started in session.of("shard_started")]
    return len(shards) - len(set(shards))


def _started(stage: Stage) -> set[str]:
    return {path.name.split(".")[1] for path in stage.signals.glob("started.*")}


def _final(stage: Stage) -> set[str]:
    lines = (line.content for line in checker.journal(stage.run, []))
    return {line["task"] for line in lines if "kind" not in line and line["status"] in checker.FINAL}
