"""How many tasks an experiment needs, as a page; and what a plan can show, as a line."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.size import Sizes
from prealloc.report import human
from prealloc.report.grid import Column, table
from prealloc.report.page import Page, prose
from prealloc.report.visible import visible
from prealloc.statistics.size import Precision


def render_sizes(sizes: Sizes) -> Page:
    """The question as a sentence, and a row for each number of repeats."""
    return Page(lambda width: [*map(prose, (_question(sizes), *_known(sizes))), Text(), *table(_columns(sizes), width)])


def precision_line(precision: Precision, *, cells: bool) -> str:
    """`20 tasks a cell: a rate to ±20 points; a difference from 27 points up`."""
    width, least = (f"{each * 100:.0f}" for each in (precision.half_width, precision.shown_from))
    tasks = human.count(precision.tasks, "task") + (" a cell" if cells else "")
    return f"{tasks}: a rate to ±{width} points; a difference from {least} points up"


def _question(sizes: Sizes) -> str:
    asked = sizes.asked
    if asked.half_width is not None:
        return (
            f"Tasks of a cell for a rate of about {asked.rate * 100:.3g}% to ±{asked.half_width * 100:g} points "
            f"({asked.level * 100:g}% interval{_alike(sizes)}):"
        )
    return (
        f"Tasks of a cell to find a difference of {(asked.difference or 0) * 100:g} points with {asked.power * 100:g}% "
        f"power, if {asked.differ * 100:.3g}% of the tasks differ ({asked.level * 100:g}% level{_alike(sizes)}):"
    )


def _known(sizes: Sizes) -> list[str]:
    known = sizes.known
    if known is None:
        return []
    where = f"from {visible(sizes.asked.from_run or '')}, {human.count(known.tasks, 'task')}"
    if known.pairs is not None:
        where += f", {human.count(known.pairs, 'pair')} of cells that differ in {visible(known.factor or '')}"
    return [where if known.icc is not None else f"{where}; it has no repeats, so how alike they are is not known"]


def _alike(sizes: Sizes) -> str:
    if sizes.asked.icc == 1:
        return ", repeats add nothing"
    return f", repeats are {sizes.asked.icc * 100:.3g}% alike"


def _columns(sizes: Sizes) -> list[Column]:
    cheapest = sizes.cheapest
    marks = ["fewest units" if size is cheapest and len(sizes.sizes) > 1 else "" for size in sizes.sizes]
    return [
        Column("repeats", [Text(f"{size.repeats}") for size in sizes.sizes]),
        Column("tasks", [Text(f"{size.tasks:,}") for size in sizes.sizes]),
        Column("units", [Text(f"{size.units:,}") for size in sizes.sizes]),
        Column("", [Text(mark) for mark in marks], False),
    ]
