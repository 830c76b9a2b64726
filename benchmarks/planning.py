"""Scenario "plan": `prealloc plan` as a whole process beside scripts that make the same plan by hand."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.harness import ROOT, Bench, run_whole
from benchmarks.size import Size
from benchmarks.spread import Spread, spread
from benchmarks.workload import LIMIT_S, Workload, plan_command

JSON = "by hand with json"
ORJSON = "by hand with orjson"
_HANDS = {JSON: "json", ORJSON: "orjson"}


class PlanRow(NamedTuple):
    name: str
    plan_seconds: Spread
    hand_seconds: Spread
    ratio: Spread
    """Of the rounds, so that the machine's mood at one moment meets all."""


def measure_plan(bench: Bench, load: Workload, size: Size, tell: Callable[[str], None]) -> list[PlanRow]:
    """Alternating rounds of all. Raises WayFailed."""
    out, script = bench.folder / "planned", str(ROOT / "benchmarks" / "ways" / "plan_by_hand.py")
    ours: list[float] = []
    hands: dict[str, list[float]] = {name: [] for name in _HANDS}

    def timed(command: list[str]) -> float:
        seconds, _ = run_whole(bench, command, limit_s=LIMIT_S)
        shutil.rmtree(out)
        return seconds

    for number in range(size.pairs):
        tell(f"plan, round {number + 1} of {size.pairs}")
        for name, codec in _HANDS.items():
            words = [codec, str(load.library), str(out), str(size.workers), str(size.tasks)]
            hands[name].append(timed([sys.executable, script, *words]))
        ours.append(timed(plan_command(load.library, out, size)))
    return [
        PlanRow(name, spread(ours), spread(hand), spread([a / b for a, b in zip(ours, hand, strict=True)]))
        for name, hand in hands.items()
    ]
