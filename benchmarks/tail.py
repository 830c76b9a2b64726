"""Scenario "tail": tasks whose times are uneven, as many workers as shards. How long until the last one has ended?

The times are drawn anew in each round, from the scenario's own seed. A task sleeps, as an agent that waits for its
model does.

When the last task ends depends on when the longest ones start. So one order of a shared queue is 10% better or worse
than another, by luck. That luck is taken out: the time that a run is compared with is the mean over many orders,
computed, of a queue that costs nothing. A pool that takes from such a queue is run beside it, in one order.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Bench, WayFailed, run_whole
from benchmarks.size import Size
from benchmarks.spread import Spread, spread
from benchmarks.workload import prealloc

LIMIT_S = 120.0
SEED = 20261128
ORDERS = 1_000
"""Of the shared queue, over which its mean is taken."""
POOL, RUN, MEAN, FIXED = "pool, one queue", "prealloc run", "queue, computed", "each shard alone, computed"


class Work(NamedTuple):
    """Tasks of uneven times."""

    name: str
    shards: int
    tasks: int
    draw: Callable[[random.Random], float]
    """The time of one task, in any unit."""


WORKS = (
    Work("heavy tails (Pareto 1.2), 120 tasks, 10 shards", 10, 120, lambda rng: rng.paretovariate(1.2)),
    Work("lognormal, sigma 1, 300 tasks, 25 shards", 25, 300, lambda rng: rng.lognormvariate(0.0, 1.0)),
)


class TailRow(NamedTuple):
    """From the start of the first task to the end of the last, in seconds."""

    name: str
    pool: Spread
    run: Spread
    mean: Spread
    """Of a shared queue that costs nothing, over many orders."""
    fixed: Spread
    """If no task left its shard: the longest shard."""
    ratio: float
    """Of the sums over all rounds: run / mean."""


def run(task: Any, ctx: Any) -> None:
    """The worker function for prealloc."""
    time.sleep(task.workflow["seconds"])


def measure_tail(
    bench: Bench, size: Size, tell: Callable[[str], None], failed: Callable[[str, WayFailed], None]
) -> list[TailRow]:
    """Runs every way in every round. A work that failed has no row."""
    rows = []
    for work in WORKS:
        found: dict[str, list[float]] = {POOL: [], RUN: [], MEAN: [], FIXED: []}
        try:
            for number in range(size.tail_rounds):
                tell(f"tail, round {number + 1} of {size.tail_rounds}: {work.name}")
                _round(bench, size, work, SEED + number, found)
        except WayFailed as error:
            failed(f"tail, {work.name}", error)
            continue
        ratio = sum(found[RUN]) / sum(found[MEAN])
        rows.append(TailRow(work.name, *(spread(found[way]) for way in found), ratio))
    return rows


def _round(bench: Bench, size: Size, work: Work, seed: int, found: dict[str, list[float]]) -> None:
    rng = random.Random(seed)
    drawn = [work.draw(rng) for _ in range(work.tasks)]
    scale = size.tail_s * work.shards / sum(drawn)
    folder = bench.folder / "tail"
    folder.mkdir()
    try:
        library, plan, times = folder / "library.json", folder / "plan", folder / "times.json"
        tasks = [
            {"id": f"t{number:03}", "task_type": "wait", "workflow": {"seconds": seconds * scale}}
            for number, seconds in enumerate(drawn)
        ]
        library.write_text(json.dumps({"tasks": tasks}))
        run_whole(bench, prealloc("plan", library, "--all", "--shards", work.shards, "--out", plan), limit_s=LIMIT_S)
        shards = _times(plan)
        turns = itertools.zip_longest(*shards)
        in_turn = [each for turn in turns for each in turn if each is not None]
        times.write_text(json.dumps(in_turn))
        command = [sys.executable, "-m", "benchmarks.ways.tail_pool", str(times), str(work.shards)]
        _, printed = run_whole(bench, command, limit_s=LIMIT_S)
        found[POOL].append(json.loads(printed)["seconds"])
        found[RUN].append(_prealloc(bench, plan, folder / "run"))
        found[MEAN].append(
            statistics.fmean(_end(rng.sample(in_turn, len(in_turn)), work.shards) for _ in range(ORDERS))
        )
        found[FIXED].append(max(map(sum, shards)))
    finally:
        shutil.rmtree(folder)


def _times(plan: Path) -> list[list[float]]:
    """Those of the tasks of each shard, in its order."""
    shards = json.loads((plan / "plan.json").read_bytes())["shards"]
    manifests = [json.loads((plan / shard["file"]).read_bytes()) for shard in shards]
    slices = [json.loads((plan / manifest["slice"]["file"]).read_bytes())["tasks"] for manifest in manifests]
    return [[task["workflow"]["seconds"] for task in tasks] for tasks in slices]


def _end(times: list[float], workers: int) -> float:
    """When the last task ends, if each worker takes the next one from one queue."""
    ends = [0.0] * workers
    for seconds in times:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _prealloc(bench: Bench, plan: Path, out: Path) -> float:
    options = ("--worker", "benchmarks.tail:run", "--quiet", "--out", out)
    run_whole(bench, prealloc("run", plan, *options), limit_s=LIMIT_S)
    try:
        lines = [json.loads(line) for file in (out / "journal").glob("*.jsonl") for line in file.open("rb")]
        attempts = [line for line in lines if "kind" not in line]
        return max(line["started_at"] + line["working_s"] for line in attempts) - min(
            line["started_at"] for line in attempts
        )
    finally:
        shutil.rmtree(out)
