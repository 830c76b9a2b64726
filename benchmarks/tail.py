"""Scenario "tail": tasks whose times are uneven, as many workers as shards. How long until the last one has ended?

The times are drawn anew in each round, from the scenario's own seed. A task sleeps, as an agent that waits for its
model does. The shared queue gets the tasks in the order in which the shards would start them: the first of each, then
the second of each. In a single round either way may be 10% ahead by luck: the end depends on when the longest tasks
start. So the sums over all rounds are compared.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
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
POOL, RUN, FIXED = "shared queue", "prealloc run", "prealloc run --no-rebalance"


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
    shared: Spread
    moved: Spread
    fixed: Spread
    ratio: float
    """Of the sums over all rounds: moved / shared."""


def run(task: Any, ctx: Any) -> None:
    """The worker function for prealloc."""
    time.sleep(task.workflow["seconds"])


def measure_tail(
    bench: Bench, size: Size, tell: Callable[[str], None], failed: Callable[[str, WayFailed], None]
) -> list[TailRow]:
    """Runs every way in every round. A work that failed has no row."""
    rows = []
    for work in WORKS:
        found: dict[str, list[float]] = {POOL: [], RUN: [], FIXED: []}
        try:
            for number in range(size.tail_rounds):
                tell(f"tail, round {number + 1} of {size.tail_rounds}: {work.name}")
                _round(bench, size, work, SEED + number, found)
        except WayFailed as error:
            failed(f"tail, {work.name}", error)
            continue
        ratio = sum(found[RUN]) / sum(found[POOL])
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
        times.write_text(json.dumps(_in_turn(plan)))
        command = [sys.executable, "-m", "benchmarks.ways.tail_pool", str(times), str(work.shards)]
        _, printed = run_whole(bench, command, limit_s=LIMIT_S)
        found[POOL].append(json.loads(printed)["seconds"])
        for way, options in ((RUN, ()), (FIXED, ("--no-rebalance",))):
            found[way].append(_prealloc(bench, plan, folder / "run", options))
    finally:
        shutil.rmtree(folder)


def _in_turn(plan: Path) -> list[float]:
    """The times of the tasks: the first of each shard, then the second of each."""
    shards = json.loads((plan / "plan.json").read_bytes())["shards"]
    manifests = [json.loads((plan / shard["file"]).read_bytes()) for shard in shards]
    slices = [json.loads((plan / manifest["slice"]["file"]).read_bytes())["tasks"] for manifest in manifests]
    turns = itertools.zip_longest(*([task["workflow"]["seconds"] for task in tasks] for tasks in slices))
    return [seconds for turn in turns for seconds in turn if seconds is not None]


def _prealloc(bench: Bench, plan: Path, out: Path, options: tuple[str, ...]) -> float:
    run_whole(
        bench,
        prealloc("run", plan, "--worker", "benchmarks.tail:run", "--quiet", "--out", out, *options),
        limit_s=LIMIT_S,
    )
    try:
        lines = [json.loads(line) for file in (out / "journal").glob("*.jsonl") for line in file.open("rb")]
        attempts = [line for line in lines if "kind" not in line]
        return max(line["started_at"] + line["working_s"] for line in attempts) - min(
            line["started_at"] for line in attempts
        )
    finally:
        shutil.rmtree(out)
