"""Scenario "throughput": tasks that do nothing, and an outcome of each on disk as it arrives."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Bench, WayFailed, run_whole
from benchmarks.size import Size
from benchmarks.spread import Spread, spread
from benchmarks.workload import Workload, prealloc

LIMIT_S = 180.0
PREALLOC = "prealloc run, from a plan on disk"
POOLS = {
    "ProcessPoolExecutor": "lines_executor",
    "loky": "lines_loky",
    "mpire": "lines_mpire",
    "multiprocessing.Pool": "lines_multiprocessing",
}


class Rates(NamedTuple):
    """Tasks per second: over the whole process, and while tasks were under way."""

    whole: Spread
    flowing: Spread


class ThroughputRow(NamedTuple):
    name: str
    single: Rates
    chunked: Rates | None
    """Pools only: prealloc has no chunks, every outcome is recorded by itself."""


def measure_throughput(
    bench: Bench, load: Workload, size: Size, tell: Callable[[str], None], failed: Callable[[str, WayFailed], None]
) -> list[ThroughputRow]:
    """Runs every way in every round. A way that failed has no row."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    broken: set[str] = set()
    turns = [*((name, chunk) for name in POOLS for chunk in (1, size.noop_chunk)), (PREALLOC, 1)]
    for number in range(size.rounds):
        for name, chunk in turns:
            if name in broken:
                continue
            tell(f"throughput, round {number + 1} of {size.rounds}: {name}, chunks of {chunk}")
            try:
                rates = _prealloc(bench, load, size) if name == PREALLOC else _pool(bench, load, size, name, chunk)
            except WayFailed as error:
                broken.add(name)
                failed(name, error)
            else:
                found.setdefault((name, chunk), []).append(rates)
    return [
        ThroughputRow(
            name,
            _rates(found[name, 1]),
            None if name == PREALLOC else _rates(found[name, size.noop_chunk]),
        )
        for name in (*POOLS, PREALLOC)
        if name not in broken
    ]


def _rates(rates: list[tuple[float, float]]) -> Rates:
    return Rates(spread([whole for whole, _ in rates]), spread([flowing for _, flowing in rates]))


def _pool(bench: Bench, load: Workload, size: Size, name: str, chunk: int) -> tuple[float, float]:
    out = bench.folder / "outcomes.jsonl"
    arguments = [str(load.noop_library), str(out), str(size.noop_workers), str(chunk)]
    try:
        seconds, printed = run_whole(
            bench, [sys.executable, "-m", f"benchmarks.ways.{POOLS[name]}", *arguments], limit_s=LIMIT_S
        )
        _check_count(size, out.read_bytes().count(b"\n"))
    finally:
        out.unlink(missing_ok=True)
    return size.noop_tasks / seconds, size.noop_tasks / max(json.loads(printed)["seconds"], 1e-9)


def _prealloc(bench: Bench, load: Workload, size: Size) -> tuple[float, float]:
    out = bench.folder / "noop-run"
    options = ("--worker", "benchmarks.noop:run", "--workers", size.noop_workers, "--quiet")
    try:
        seconds, _ = run_whole(bench, prealloc("run", load.noop_plan, *options, "--out", out), limit_s=LIMIT_S)
        starts = _starts(out / "journal")
    finally:
        shutil.rmtree(out, ignore_errors=True)
    _check_count(size, len(starts))
    return size.noop_tasks / seconds, size.noop_tasks / max(max(starts) - min(starts), 1e-9)


def _starts(journal: Path) -> list[float]:
    """When each attempt started, from the journal's lines."""
    lines = (json.loads(line) for file in journal.glob("*.jsonl") for line in file.open("rb"))
    return [line["started_at"] for line in lines if "kind" not in line]


def _check_count(size: Size, outcomes: int) -> None:
    if outcomes != size.noop_tasks:
        raise WayFailed(f"{outcomes} outcomes of {size.noop_tasks} tasks are on disk")
