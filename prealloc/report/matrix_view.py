"""The cells of an experiment as a page: the matrix, the lanes, and how long they will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from prealloc.model.cell import MODEL, same
from prealloc.model.words import listed
from prealloc.planning.estimate import WORK, WORKERS, Estimate, LaneEstimate
from prealloc.planning.forecast import Forecast, LaneForecast, ModelForecast, Range
from prealloc.planning.matrix import CellRow, Matrix, Outlook
from prealloc.report import human
from prealloc.report.grid import Column, table
from prealloc.report.page import Page, fact, heading
from prealloc.report.visible import value, visible

_LIMITS = {WORK: "tasks at once", WORKERS: "too few workers"}


def render_outlook(outlook: Outlook) -> Page:
    """The factors, a row for each value of the first one (of `model`, if it is one), the lanes and the estimate."""
    return Page(lambda width: _page(outlook, width))


def _page(outlook: Outlook, width: int | None) -> list[Text]:
    matrix, estimate, forecast = outlook.matrix, outlook.estimate, outlook.forecast
    lines = [fact(name, text, 12) for name, text in _facts(matrix)]
    if matrix.factors:
        lines += [Text(), heading("matrix, as cells x tasks"), *table(_cell_columns(matrix), width)]
    if estimate is not None and estimate.lanes:
        lines += [Text(), heading("lanes"), *table(_lane_columns(estimate), width), Text()]
        lines += [fact(name, text, 12) for name, text in _forecast(estimate, outlook)]
    if forecast is not None:
        lines += [Text(), heading("by what past runs took"), *table(_model_columns(forecast), width)]
        if len(forecast.lanes) > 1:
            lines += [Text(), *table(_lane_cost_columns(forecast), width)]
        lines += [Text(), *(fact(name, text, 12) for name, text in _sums(forecast))]
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
    columns = [Column(visible(down), titles, False, least=12, middle=True, names=True)]
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
    names = [_marked(_lane_name(lane), lane, estimate) for lane in lanes]
    return [
        Column("lane", names, False, least=12, names=True),
        Column("shards", [Text(f"{lane.shards:,}") for lane in lanes]),
        Column("at once", [Text(f"{lane.at_once:,}") for lane in lanes], drop=2),
        Column("units", [Text(f"{lane.units:,}") for lane in lanes]),
        Column("requests", [Text(f"{lane.requests:,.0f}") for lane in lanes], drop=3),
        Column("time", [_marked(human.duration(lane.seconds), lane, estimate) for lane in lanes]),
        Column("limited by", [Text(_limit(lane.limited_by)) for lane in lanes], False, drop=1),
    ]


def _lane_name(lane: LaneEstimate | LaneForecast) -> str:
    return visible(lane.lane) if lane.lane is not None else "(no lane)"


def _marked(text: str, lane: LaneEstimate, estimate: Estimate) -> Text:
    is_bottleneck = estimate.bottleneck is not None and lane.lane == estimate.bottleneck
    return Text(text, style="bold yellow" if is_bottleneck else "default")


def _model_columns(forecast: Forecast) -> list[Column]:
    models = forecast.models
    return [
        Column("model", [Text(visible(each.model)) for each in models], False, least=12, middle=True, names=True),
        *_use_columns(models),
        Column("", [Text("" if each.known else "no history", "yellow") for each in models], False),
    ]


def _lane_cost_columns(forecast: Forecast) -> list[Column]:
    names = [Text(_lane_name(lane)) for lane in forecast.lanes]
    return [Column("lane", names, False, least=12, names=True), *_use_columns(forecast.lanes)]


def _use_columns(rows: Sequence[ModelForecast | LaneForecast]) -> list[Column]:
    return [
        Column("units", [Text(f"{row.units:,}") for row in rows]),
        Column("tokens", [Text(_range(row.tokens, _tokens)) for row in rows], drop=1),
        Column("cost", [Text(_range(row.dollars, human.dollars)) for row in rows]),
    ]


def _range(found: Range | None, written: Callable[[float], str]) -> str:
    """`$41 ($35 to $47)`; without the rest where there is no spread."""
    if found is None:
        return human.NOTHING
    mean, low, high = written(found.mean), written(found.low), written(found.high)
    return mean if low == high else f"{mean} ({low} to {high})"


def _tokens(number: float) -> str:
    return human.tokens(round(number))


def _sums(forecast: Forecast) -> list[tuple[str, str]]:
    least = " at least" if forecast.no_history or forecast.unpriced else ""
    told = [("cost", _range(forecast.dollars, human.dollars) + least)] if forecast.dollars is not None else []
    if forecast.tokens is not None:
        told.append(("tokens", _range(forecast.tokens, _tokens) + (" at least" if forecast.no_history else "")))
    models = human.count(len(forecast.models), "model")
    if forecast.no_history:
        verb = "has" if len(forecast.no_history) == 1 else "have"
        named = listed([visible(name) for name in forecast.no_history])
        told.append(("no history", f"{len(forecast.no_history)} of {models} {verb} none: {named}"))
    if forecast.unpriced:
        told.append(("no price", f"some tokens of {listed([visible(name) for name in forecast.unpriced])} have none"))
    return told


def _forecast(estimate: Estimate, outlook: Outlook) -> list[tuple[str, str]]:
    unknown = "the time of a task is not known: seconds_per_task in [estimate], or --history RUN"
    if estimate.seconds is None:
        return [("estimate", unknown)]
    least = "" if estimate.complete else "at least "
    between = ""
    if outlook.least_s != outlook.most_s:
        between = f" ({human.duration(outlook.least_s)} to {human.duration(outlook.most_s)})"
    rest = "" if estimate.complete else "; " + unknown
    told = [("estimate", f"{least}{human.duration(estimate.seconds)}{between}{rest}")]
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
