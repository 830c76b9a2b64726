"""The cells of an experiment as a page: the matrix, the lanes, and how long they will take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prealloc.model.cell import MODEL, same
from prealloc.planning.estimate import WORK, WORKERS, Estimate, LaneEstimate
from prealloc.planning.matrix import CellRow, Matrix, Outlook
from prealloc.report import human
from prealloc.report.grid import Column, table
from prealloc.report.page import Page, fact, heading
from prealloc.report.visible import value, visible

_LIMITS = {WORK: "tasks at once", WORKERS: "too few workers"}


def render_outlook(outlook: Outlook) -> Page:
    """The factors, a row for each value of the first one (of `model`, if it is one), the lanes and the estimate."""
    return Page(lambda width: _page(outlook.matrix, outlook.estimate, width))


def _page(matrix: Matrix, estimate: Estimate | None, width: int | None) -> list[Text]:
    lines = [fact(name, text, 12) for name, text in _facts(matrix)]
    if matrix.factors:
        lines += [Text(), heading("matrix, as cells x tasks"), *table(_cell_columns(matrix), width)]
    if estimate is not None and estimate.lanes:
        lines += [Text(), heading("lanes"), *table(_lane_columns(estimate), width), Text()]
        lines += [fact(name, text, 12) for name, text in _forecast(estimate)]
    return lines


def _facts(matrix: Matrix) -> list[tuple[str, str]]:
    facts = []
    for name, values in matrix.factors.items():
        facts.append(("factor", f"{visible(name)}: {', '.join(map(value, values))}"))
    shards = human.count(matrix.shards, "shard")
    units = f", {human.count(matrix.units, 'unit')}" if matrix.units is not None else ""
    if not matrix.factors:
        return [("shards", f"{matrix.shards:,}{units}")]
    union = f" of {matrix.designs} designs" if matrix.designs > 1 else ""
    excluded = f", {matrix.excluded} excluded" if matrix.excluded else ""
    facts.append(("cells", f"{len(matrix.cells):,}{union}{excluded}; {shards}{units}"))
    facts.append(("pairing", _pairing(matrix)))
    facts += [
        ("left out", f"{human.count(number, 'task')} of {visible(name)}: not at every difficulty")
        for name, number in matrix.dropped.items()
    ]
    return facts


def _pairing(matrix: Matrix) -> str:
    sizes = {row.tasks for row in matrix.cells}
    tasks = human.count(size, "task") if len(sizes) == 1 and (size := next(iter(sizes))) is not None else "tasks"
    if matrix.paired is None:
        return f"every cell gets the same {tasks}"
    return f"every cell has the same {tasks}" if matrix.paired else "cells have different tasks"


def _cell_columns(matrix: Matrix) -> list[Column]:
    """Rows by the first factor, columns by the second: how many cells there are, and their tasks."""
    names = list(matrix.factors)
    down = MODEL if MODEL in names else names[0]
    across = next((name for name in names if name != down), None)
    groups = [[row for row in matrix.cells if same(row.cell[down], each)] for each in matrix.factors[down]]
    groups = [rows for rows in groups if rows]
    titles = [Text(value(rows[0].cell[down])) for rows in groups]
    columns = [Column(visible(down), titles, False, least=12, middle=True)]
    values = matrix.factors[across] if across is not None else ()
    for place, each in enumerate(values):
        cells = [_cells([row for row in rows if same(row.cell[across or ""], each)]) for rows in groups]
        title = value(each)
        columns.append(Column(title, cells, drop=place + 2, short=title if len(title) <= 9 else title[:8] + "…"))
    if across is None:
        columns.append(Column("tasks", [_cells(rows) for rows in groups]))
    columns.append(Column("shards", [Text(str(sum(row.shards for row in rows))) for rows in groups]))
    lanes = [", ".join(dict.fromkeys(lane for row in rows for lane in row.lanes)) for rows in groups]
    if any(lanes):
        columns.append(Column("lanes", [Text(visible(text)) for text in lanes], False, least=14, drop=1))
    return columns


def _cells(rows: Sequence[CellRow]) -> Text:
    if not rows:
        return Text(human.NOTHING, style="dim")
    tasks = rows[0].tasks
    return Text(f"{len(rows)} x {tasks if tasks is not None else human.NOTHING}")


def _lane_columns(estimate: Estimate) -> list[Column]:
    lanes = estimate.lanes
    names = [Text(visible(lane.lane) if lane.lane is not None else "(no lane)") for lane in lanes]
    return [
        Column(
            "lane", [_marked(text, lane, estimate) for text, lane in zip(names, lanes, strict=True)], False, least=12
        ),
        Column("shards", [Text(f"{lane.shards:,}") for lane in lanes]),
        Column("at once", [Text(f"{lane.at_once:,}") for lane in lanes], drop=2),
        Column("units", [Text(f"{lane.units:,}") for lane in lanes]),
        Column("requests", [Text(f"{lane.requests:,.0f}") for lane in lanes], drop=3),
        Column("time", [_marked(Text(human.duration(lane.seconds)), lane, estimate) for lane in lanes]),
        Column("limited by", [Text(_limit(lane.limited_by)) for lane in lanes], False, drop=1),
    ]


def _marked(text: Text, lane: LaneEstimate, estimate: Estimate) -> Text:
    is_bottleneck = estimate.bottleneck is not None and lane.lane == estimate.bottleneck
    return Text(text.plain, style="bold yellow" if is_bottleneck else "default")


def _forecast(estimate: Estimate) -> list[tuple[str, str]]:
    unknown = "the time of a task is not known: seconds_per_task in [estimate], or --durations-from RUN"
    if estimate.seconds is None:
        return [("estimate", unknown)]
    least = "" if estimate.complete else "at least "
    told = [("estimate", f"{least}{human.duration(estimate.seconds)}{'' if estimate.complete else '; ' + unknown}")]
    if estimate.bottleneck == WORKERS:
        told.append(("bottleneck", "workers: more shards are ready than run at once"))
    elif estimate.bottleneck is not None:
        alike = sum(lane.seconds == estimate.seconds for lane in estimate.lanes) - 1
        others = f" and {alike} more that take as long" if alike else ""
        told.append(("bottleneck", f"{visible(estimate.bottleneck)}{others}, by {_limit(estimate.limited_by)}"))
    return told


def _limit(name: str | None) -> str:
    if name is None:
        return human.NOTHING
    return _LIMITS.get(name, name.replace("_", " "))
