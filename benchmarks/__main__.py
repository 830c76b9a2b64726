"""`python -m benchmarks`: prealloc beside the usual ways, in one run on one machine.

Exits with 0 if every way did its work, whether or not a goal was reached; with 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.goals import judge
from benchmarks.harness import Bench, WayFailed, make_bench
from benchmarks.machine import describe_machine, describe_workload
from benchmarks.planning import PlanRow, measure_plan
from benchmarks.report import Failure, Report, as_values, tables
from benchmarks.show import markdown, show
from benchmarks.size import FULL, QUICK, Size
from benchmarks.start import measure_start
from benchmarks.tail import measure_tail
from benchmarks.throughput import measure_throughput
from benchmarks.workload import make_workload
from prealloc.processes.parent import adopt_orphans

QUICK_NOTE = "quick: too small and too few rounds for its figures to mean anything"


def main() -> int:
    options = _options()
    adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # as an exception, so that what was started is ended
    size = QUICK if options.quick else FULL._replace(rounds=options.rounds, slow_rounds=min(2, options.rounds))
    machine = describe_machine()  # before anything runs: the load is that of the others
    with tempfile.TemporaryDirectory(prefix="prealloc-bench-") as folder:
        bench = make_bench(Path(folder))
        if not options.quick:
            _warm(bench)
        report = _measure(bench, size, machine, quick=options.quick)
    shown = tables(report)
    show(shown)
    if report.quick:
        print(QUICK_NOTE)
    for failure in report.failures:
        print(f"\n{failure.way}: {failure.what}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(as_values(report), indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(shown))
    return 1 if report.failures else 0


def _measure(bench: Bench, size: Size, machine: dict[str, str], *, quick: bool) -> Report:
    failures: list[Failure] = []

    def failed(way: str, error: WayFailed) -> None:
        failures.append(Failure(way, str(error)))

    try:
        load = make_workload(bench, size)
    except WayFailed as error:
        failed("making the library and the plans", error)
        return Report(machine, [], [], [], [], judge([], [], [], []), failures, quick)
    start = measure_start(bench, load, size, _tell, failed)
    plan: list[PlanRow] = []
    try:
        plan = measure_plan(bench, load, size, _tell)
    except WayFailed as error:
        failed("plan", error)
    throughput = measure_throughput(bench, load, size, _tell, failed)
    tail = measure_tail(bench, size, _tell, failed)
    return Report(
        machine={**machine, **describe_workload(load, size)},
        start=start,
        plan=plan,
        throughput=throughput,
        tail=tail,
        goals=judge(start, plan, throughput, tail),
        failures=failures,
        quick=quick,
    )


def _warm(bench: Bench) -> None:
    """One small round of everything: bytecode is compiled, files are in the page cache. Failures come again."""
    _tell("warming up")
    folder = bench.folder / "warm"
    folder.mkdir()
    _measure(bench._replace(folder=folder), QUICK, {}, quick=True)
    shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test of less than half a minute")
    parser.add_argument("--rounds", type=_positive, default=FULL.rounds, help="of each way (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
