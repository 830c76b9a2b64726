"""Scenario "start": how long until the last worker's last task starts, and what memory that takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Bench, Command, Start, WayFailed, run_start
from benchmarks.size import Size
from benchmarks.spread import Spread, spread
from benchmarks.workload import Workload, plan_command, prealloc

LIMIT_S = 180.0
SELF = "every worker loads the library"
POOL = "json.load + ProcessPoolExecutor"
ONE = "prealloc, one process"
TWO = "prealloc plan, then run"
RUN = "prealloc run, from a plan on disk"
WORKER = "benchmarks.probe:run"


class Way(NamedTuple):
    name: str
    commands: Callable[[Workload, Size, Path], list[Command]]
    """Gets a scratch folder for what it writes."""


class StartRow(NamedTuple):
    """A way's figures over its rounds."""

    name: str
    seconds: Spread
    workers_bytes: Spread
    master_bytes: Spread
    processes: int


def ways() -> list[Way]:
    """The ways in the order of the table."""
    return [
        Way(SELF, _script("start_whole_library")),
        Way(POOL, _script("start_pool")),
        Way("json.load + mpire", _script("start_mpire")),
        Way("json.load + loky", _script("start_loky")),
        Way(ONE, _one_process),
        Way(TWO, lambda load, size, out: [plan_command(load.library, out / "plan", size), _run(out / "plan", out)]),
        Way(RUN, lambda load, size, out: [_run(load.plan, out)]),
    ]


def measure_start(
    bench: Bench, load: Workload, size: Size, tell: Callable[[str], None], failed: Callable[[str, WayFailed], None]
) -> list[StartRow]:
    """Runs every way in every round, so that a busy minute of the machine does not meet one way alone."""
    found: dict[str, list[Start]] = {}
    broken: set[str] = set()
    for number in range(size.rounds):
        for way in ways():
            if way.name in broken or (way.name == SELF and number >= size.slow_rounds):
                continue
            tell(f"start, round {number + 1} of {size.rounds}: {way.name}")
            try:
                with _scratch(bench) as out:
                    start = run_start(
                        bench, way.commands(load, size, out), workers=size.workers, tasks=size.tasks, limit_s=LIMIT_S
                    )
            except WayFailed as error:
                broken.add(way.name)
                failed(way.name, error)
            else:
                found.setdefault(way.name, []).append(start)
    return [_row(name, starts) for name, starts in found.items() if name not in broken]


def _row(name: str, starts: list[Start]) -> StartRow:
    return StartRow(
        name=name,
        seconds=spread([start.seconds for start in starts]),
        workers_bytes=spread([start.workers_bytes for start in starts]),
        master_bytes=spread([start.master_bytes for start in starts]),
        processes=max(start.processes for start in starts),
    )


def _script(name: str) -> Callable[[Workload, Size, Path], list[Command]]:
    command = [sys.executable, "-m", f"benchmarks.ways.{name}"]
    return lambda load, size, out: [[*command, str(load.library), str(load.ids)]]


def _one_process(load: Workload, size: Size, out: Path) -> list[Command]:
    arguments = [str(load.library), str(out / "run"), str(size.workers), str(size.tasks)]
    return [[sys.executable, "-m", "benchmarks.ways.start_prealloc", *arguments]]


def _run(plan: Path, out: Path) -> Command:
    return prealloc("run", plan, "--worker", WORKER, "--out", out / "run")


@contextmanager
def _scratch(bench: Bench) -> Iterator[Path]:
    path = bench.folder / "scratch"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)
