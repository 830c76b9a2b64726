"""Scenario "plan": `prealloc plan` as a whole process beside one process that only json.loads the library."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.harness import Bench, run_whole
from benchmarks.size import Size
from benchmarks.spread import Spread, spread
from benchmarks.workload import LIMIT_S, Workload, plan_command

LOAD = "import json, sys; json.load(open(sys.argv[1]))"


class PlanRow(NamedTuple):
    plan_seconds: Spread
    load_seconds: Spread
    ratio: Spread
    """Of the pairs, so that the machine's mood at one moment meets both."""


def measure_plan(bench: Bench, load: Workload, size: Size, tell: Callable[[str], None]) -> PlanRow:
    """Alternating pairs. Raises WayFailed."""
    out = bench.folder / "planned"
    pairs: list[tuple[float, float]] = []
    for number in range(size.pairs):
        tell(f"plan, pair {number + 1} of {size.pairs}")
        plain, _ = run_whole(bench, [sys.executable, "-c", LOAD, str(load.library)], limit_s=LIMIT_S)
        ours, _ = run_whole(bench, plan_command(load.library, out, size), limit_s=LIMIT_S)
        shutil.rmtree(out)
        pairs.append((ours, plain))
    return PlanRow(
        plan_seconds=spread([ours for ours, _ in pairs]),
        load_seconds=spread([plain for _, plain in pairs]),
        ratio=spread([ours / plain for ours, plain in pairs]),
    )
