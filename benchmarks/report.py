"""The figures of one run, and the tables that show them."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.goals import Goal, fastest_pool
from benchmarks.planning import PlanRow
from benchmarks.spread import Spread
from benchmarks.start import POOL, SELF, StartRow
from benchmarks.tail import FIXED, MEAN, RUN, TailRow
from benchmarks.tail import POOL as POOL_OF_ALL
from benchmarks.throughput import ThroughputRow


class Failure(NamedTuple):
    way: str
    what: str


class Report(NamedTuple):
    """Everything that one run has found."""

    machine: dict[str, str]
    start: list[StartRow]
    plan: list[PlanRow]
    throughput: list[ThroughputRow]
    tail: list[TailRow]
    goals: list[Goal]
    failures: list[Failure]
    quick: bool


class Table(NamedTuple):
    """Cells as text; the first column is names, the others are figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """The tables in the order they are shown."""
    found = [Table("Machine", ["", ""], [[name, value] for name, value in report.machine.items()])]
    if report.start:
        found.append(_start(report.start))
    if report.plan:
        found.append(_plan(report.plan))
    if report.throughput:
        found.append(_throughput(report.throughput))
    if report.tail:
        found.append(_tail(report.tail))
    return [*found, _goals(report.goals)]


def as_values(report: Report) -> dict[str, Any]:
    """The same as plain values, for JSON."""
    plain: dict[str, Any] = _plain(report)
    for goal, row in zip(report.goals, plain["goals"], strict=True):
        row |= {"reached": goal.reached, "verdict": goal.verdict}
    return plain


def _start(rows: list[StartRow]) -> Table:
    bases = {name: next((row for row in rows if row.name == name), None) for name in (SELF, POOL)}
    heads = ["time to last start", "memory of workers", "of master", "times faster", "memory saved", "processes"]
    cells = []
    for row in rows:
        time_ratios = [_over(base and base.seconds, row.seconds) for base in bases.values()]
        memory_ratios = [_over(base and base.workers_bytes, row.workers_bytes) for base in bases.values()]
        cells.append(
            [
                row.name,
                _seconds(row.seconds),
                _megabytes(row.workers_bytes),
                f"{row.master_bytes.median / 1e6:,.0f} MB",
                " | ".join(time_ratios),
                " | ".join(memory_ratios),
                str(row.processes),
            ]
        )
    title = "Start: read, sample, ship, until every worker has started its last task (ratios to the first | second way)"
    return Table(title, ["way", *heads], cells)


def _plan(rows: list[PlanRow]) -> Table:
    cells = [
        [row.name, _seconds(row.hand_seconds), _seconds(row.plan_seconds), _range(row.ratio, "{:.2f}")] for row in rows
    ]
    title = f"Plan: whole processes, median of {rows[0].ratio.times} alternating rounds"
    return Table(title, ["the same plan", "", "prealloc plan", "ratio"], cells)


def _throughput(rows: list[ThroughputRow]) -> Table:
    base = fastest_pool(rows)
    heads = ["tasks/s", "while running", "to fastest pool", "tasks/s, chunked", "while running, chunked"]
    cells = [
        [
            row.name,
            _range(row.single.whole, "{:,.0f}"),
            f"{row.single.flowing.median:,.0f}",
            f"{row.single.whole.median / base:.2f}" if base else "-",
            f"{row.chunked.whole.median:,.0f}" if row.chunked else "-",
            f"{row.chunked.flowing.median:,.0f}" if row.chunked else "-",
        ]
        for row in rows
    ]
    title = "Throughput: tasks that do nothing, every outcome on disk as it arrives, whole processes"
    return Table(title, ["way", *heads], cells)


def _tail(rows: list[TailRow]) -> Table:
    cells = [[row.name, *map(_seconds, (row.pool, row.run, row.mean, row.fixed)), f"{row.ratio:.2f}"] for row in rows]
    title = "Tail: uneven tasks, from the start of the first to the end of the last"
    return Table(title, ["work", POOL_OF_ALL, RUN, MEAN, FIXED, "run to queue"], cells)


def _goals(goals: list[Goal]) -> Table:
    cells = [[goal.name, _figure(goal.goal, goal), _figure(goal.measured, goal), goal.verdict] for goal in goals]
    return Table("Goals (DESIGN.md)", ["", "goal", "measured", ""], cells)


def _figure(value: float | None, goal: Goal) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} {goal.unit}" if goal.unit == "MB" else f"{value:.2f} {goal.unit}"


def _range(found: Spread, form: str) -> str:
    """The median, and least to most if it was measured more than once."""
    text = form.format(found.median)
    if found.times == 1:
        return text
    return f"{text} ({form.format(found.least)}..{form.format(found.most)})"


def _seconds(found: Spread) -> str:
    return _range(found, "{:.2f}") + " s"


def _megabytes(found: Spread) -> str:
    return (
        _range(found._replace(**{n: getattr(found, n) / 1e6 for n in ("median", "least", "most")}), "{:,.0f}") + " MB"
    )


def _over(base: Spread | None, found: Spread) -> str:
    return f"{base.median / found.median:.1f}x" if base and found.median else "-"


def _plain(value: Any) -> Any:
    """Named tuples as objects, all the way down."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: _plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
