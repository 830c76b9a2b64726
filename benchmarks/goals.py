"""The goals of DESIGN.md, "Speed and memory", and how far this run reached them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.planning import JSON, ORJSON, PlanRow
from benchmarks.start import ONE, POOL, RUN, TWO, StartRow
from benchmarks.tail import WORKS, TailRow
from benchmarks.throughput import PREALLOC, ThroughputRow

# What json.load + ProcessPoolExecutor took on the machine on which the goals were set. A goal in seconds is
# also told as a share of that, which holds on any machine.
REFERENCE_S = 1.66
REFERENCE_MB = 274


class Goal(NamedTuple):
    """One goal. `more` says that more than the goal is better."""

    name: str
    unit: str
    goal: float
    measured: float | None
    """None: the way it needs has failed."""
    more: bool = False

    @property
    def reached(self) -> bool:
        if self.measured is None:
            return False
        return self.measured >= self.goal if self.more else self.measured <= self.goal

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        by = abs(self.measured / self.goal - 1)
        return f"reached, {by:.0%} to spare" if self.reached else f"missed by {by:.0%}"


def judge(
    start: Sequence[StartRow], plan: Sequence[PlanRow], throughput: Sequence[ThroughputRow], tail: Sequence[TailRow]
) -> list[Goal]:
    """Every goal of the table, with what was measured for it."""
    seconds = {row.name: row.seconds.median for row in start}
    megabytes = {row.name: row.workers_bytes.median / 1e6 for row in start}
    by_hand = {row.name: row.ratio.median for row in plan}
    ratios = {row.name: row.ratio for row in tail}
    return [
        Goal("last task starts, one process", "s", 1.0, seconds.get(ONE)),
        Goal("last task starts, one process / pool", "x", 1.0 / REFERENCE_S, _ratio(seconds, ONE)),
        Goal("last task starts, plan then run", "s", 1.0, seconds.get(TWO)),
        Goal("last task starts, run alone", "s", 0.8, seconds.get(RUN)),
        Goal("last task starts, run alone / pool", "x", 0.8 / REFERENCE_S, _ratio(seconds, RUN)),
        Goal("memory, one process", "MB", 150, megabytes.get(ONE)),
        Goal("memory, one process / pool", "x", 150 / REFERENCE_MB, _ratio(megabytes, ONE)),
        Goal("memory, run alone", "MB", 150, megabytes.get(RUN)),
        Goal("memory, run alone (stretch)", "MB", 105, megabytes.get(RUN)),
        Goal(f"prealloc plan / {JSON}", "x", 0.5, by_hand.get(JSON)),
        Goal(f"prealloc plan / {ORJSON}", "x", 0.75, by_hand.get(ORJSON)),
        Goal("tasks per second / fastest pool", "x", 2.0, _throughput(throughput), more=True),
        *(Goal(f"{name} / shared queue", "x", 1.05, ratios.get(name)) for name in (work.name for work in WORKS)),
    ]


def fastest_pool(rows: Sequence[ThroughputRow]) -> float | None:
    """Tasks per second of the fastest pool that records every outcome by itself."""
    return max((row.single.whole.median for row in rows if row.name != PREALLOC), default=None)


def _ratio(values: dict[str, float], name: str) -> float | None:
    return values[name] / values[POOL] if name in values and POOL in values else None


def _throughput(rows: Sequence[ThroughputRow]) -> float | None:
    ours = next((row.single.whole.median for row in rows if row.name == PREALLOC), None)
    pool = fastest_pool(rows)
    return ours / pool if ours is not None and pool else None
