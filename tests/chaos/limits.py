"""Rows 20 and 22: how far over a limit anything comes, and how much of a lane's rate is used."""

from __future__ import annotations

from counting_server import counting_server

from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task
from tests.chaos.gate import Gate
from tests.chaos.place import Measured, Place, tell

MEMORY_MB = 256
MEMORY_WAYS = {
    "at once": {"mb": 4000},
    "slowly": {"mb": 1000, "slow": True},
    "in a grandchild": {"mb": 4000, "where": "grandchild"},
}
LANES = {"a": 50, "b": 100, "c": 200}
SECONDS = 10


def memory(place: Place, trials: int) -> Gate:
    """Row 20: what a worker held, with all it had started, when it was found to be over --memory."""
    over = Measured([])
    for number in range(trials):
        for how, do in MEMORY_WAYS.items():
            tell(f"row 20: {how}, {number + 1} of {trials}")
            with place.stage(f"row 20, {how}") as stage:
                stage.make_plan({"hog": {"do": "hoard", **do}, "t": {"do": "ok"}}, first="hog")
                session = stage.start("--memory", f"{MEMORY_MB}MiB")
                assert session.wait() == 1
                lines = [line for path in (stage.run / "journal").iterdir() for line in stage.lines(path)]
                (held,) = (line["peak_rss"] for line in lines if line.get("status") == "out_of_memory")
                over.values.append(held / (MEMORY_MB * 2**20) - 1)
                stage.check(session)
    return Gate("20", "over --memory when it is seen", 0.2, "x", over.worst, len(over.values), _median(over))


def lanes(place: Place, trials: int) -> list[Gate]:
    """Row 22: 8 shards that always have a request to send, on each of three lanes; a server counts what arrives."""
    fullest, used = Measured([]), Measured([])
    for number in range(trials):
        for name, limit in LANES.items():
            tell(f"row 22: {limit} per second, {number + 1} of {trials}")
            with place.stage(f"row 22, {limit} per second") as stage, counting_server() as server:
                lane = Lane(name=name, shards_at_once=8, queries_per_second=limit)
                tasks = [make_task(f"t{n}", workflow={"requests": limit * SECONDS // 32}) for n in range(32)]
                plan = make_plan(tasks, shards=8, lanes=[lane], settings={"port": server.port})
                write_plan(plan, stage.plan)
                session = stage.start("-c", "4", worker="lane_agents:saturate")
                assert session.wait(SECONDS * 4) == 0
                fullest.values.append(server.fullest(name, 1.0) / limit)
                used.values.append(server.rate(name) / limit)
                stage.check(session)
    least = min(used.values, default=None)
    return [
        Gate("22", "fullest second of a lane", 1.0, "x", fullest.worst, len(fullest.values), _median(fullest)),
        Gate("22", "of a lane's rate used", 0.95, "x", least, len(used.values), _median(used), least=True),
    ]


def _median(of: Measured) -> str:
    return f"median {sorted(of.values)[len(of.values) // 2]:.3f}" if of.values else ""
