"""Puts a report on one page: page.html, with its style, its script, and a security policy that allows no other."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prealloc.model.lane import LaneFigures
from prealloc.model.outcome import Status
from prealloc.model.secret import named_variables
from prealloc.report import human
from prealloc.report.html import packed, rows
from prealloc.report.html.pictures import bars, forest, lanes, tasks, timeline
from prealloc.report.html.pictures.axis import utc
from prealloc.report.html.say import Say
from prealloc.report.html.svg import Svg
from prealloc.report.results_view import tokens_in
from prealloc.store.lane_log import LaneNote
from prealloc.store.run_report import RunReport
from prealloc.store.task_grid import TaskRow
from prealloc.store.telemetry import Sample

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
MOST_TASKS = 400
MARK = b"<!doctype html>\n<!-- made by prealloc report -->\n"
"""How every report begins: what does not begin so is not written over."""
STATUSES = tuple(map(str, Status))


class HtmlReport(NamedTuple):
    """The page, and what is in it."""

    html: bytes
    units: int
    listed: int
    detailed: int
    wanted: int
    """Units that were to have details; those that did not fit are named on the page."""


def render(report: RunReport) -> HtmlReport:
    """The report as one file. The same runs give the same bytes."""
    say = Say(_variables(report))
    places = packed.listed(report)
    found = packed.details(report, places, say)
    page = _template()
    style, script = (HERE.joinpath(name).read_text() for name in ("report.css", "report.js"))
    html = page.render(
        style=style,
        script=script,
        policy=policy(style, script),
        say=say,
        human=human,
        tokens_in=tokens_in,
        packed_units=packed.pack(packed.units(report, places, found, say)),
        packed_details=found.packed,
        listed=len(places),
        detailed=len(found.places),
        wanted=found.wanted,
        most_detail=packed.MOST_DETAIL,
        **_context(report, say, places),
    )
    return HtmlReport(MARK + html.encode(), len(report.members), len(places), len(found.places), found.wanted)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

    @pass_context
    def finalize(context: Mapping[str, Any], thing: Any) -> Any:
        """Whatever the template forgets is masked and made visible; what was made as markup is left."""
        return context["say"].text(thing) if isinstance(thing, str) and not hasattr(thing, "__html__") else thing

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    return environment.get_template("page.html")


def policy(style: str, script: str) -> str:
    """The page may run this script, be shown in this style, and load nothing from anywhere."""
    allowed = {"script-src": script, "style-src": style}
    parts = ["default-src 'none'"]
    for name, text in allowed.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        parts.append(f"{name} 'sha256-{digest}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _variables(report: RunReport) -> set[str]:
    """The environment variables that hold keys of this run."""
    settings = {id(member.unit.settings): member.unit.settings for member in report.members}
    named = {name for each in settings.values() for name in named_variables(each)}
    return named | {lane.key_env for source in report.sources for lane in source.plan.spec.lanes if lane.key_env}


def _context(report: RunReport, say: Say, listed: Sequence[int]) -> dict[str, Any]:
    total = report.total
    census = rows.census(total)
    grids = [rows.grid(matrix, say) for matrix in report.matrices]
    compared = [] if report.compared is None else [report.compared.all, *report.compared.by]
    forests = [rows.forest(found, say) for found in compared]
    return {
        "report": report,
        "total": rows.rate(total),
        "level": f"{total.level * 100:g}%",
        "census": [(status, census[status], human.percent(census[status], total.units, 1)) for status in STATUSES],
        "strip": bars.strip(census),
        "notes": rows.head_notes(report),
        "as_of": utc(report.as_of),
        "span": _span(report),
        "opens": rows.opens(report.sources),
        "provenance": [(say.text(source.folder), rows.provenance(source, say)) for source in report.sources],
        "main": _main(report, say),
        "pass_k": _pass_k(report),
        "grids": grids,
        "bar": _bars(),
        "forests": [
            (each, forest.forest(f"forest-{n}", each.title, each.lines, report.asked.margin))
            for n, each in enumerate(forests)
        ],
        "failures": rows.failures(report, say, listed),
        "not_ok": total.units - total.ok,
        "unsuccessful": sum(
            member.unit.status is Status.OK and member.unit.success is False for member in report.members
        ),
        "tasks": _tasks(report, say),
        "timeline": _timeline(report, say),
        "lanes": _lanes(report, say),
        "run": report.command,
    }


def _span(report: RunReport) -> str:
    starts = [each.attempt.started_at for source in report.sources for each in source.attempts]
    if not starts or report.as_of is None:
        return human.NOTHING
    return human.duration(report.as_of - min(starts))


def _main(report: RunReport, say: Say) -> Sequence[tuple[str, rows.Rate]]:
    if report.main is None:
        return []
    return [
        (human.NOTHING if value is None else say.value(value), rows.rate(row))
        for row in report.main.rows
        for value in row.group.values()
    ]


def _pass_k(report: RunReport) -> int | None:
    """Of all values of the factor; None if they differ in it, or there are no repeats."""
    found = {row.pass_k for row in report.main.rows} if report.main is not None else set()
    return found.pop() if len(found) == 1 else None


def _bars() -> Callable[[rows.Rate], Svg]:
    numbers = itertools.count(1)
    return lambda rate: bars.interval(f"bar-{next(numbers)}", rate.row.rate, rate.row.low, rate.row.high, rate.said)


def _tasks(report: RunReport, say: Say) -> dict[str, Any]:
    grid = report.tasks
    shown = grid.rows[:MOST_TASKS]
    columns = [
        ", ".join(say.value(value) for value in column.values()) if column else "all units" for column in grid.columns
    ]
    lines = [tasks.Line(say.text(row.task), [cell.solved for cell in row.cells], _solved(row)) for row in shown]
    said = (
        f"{human.count(len(grid.rows), 'task')} in {human.count(len(columns), 'column')}: {grid.by_none:,} solved by "
        f"none, {grid.by_all:,} by all, {grid.flaky:,} come out differently within one column"
    )
    cells = [
        [f"{cell.successes}/{cell.rated}" if cell.rated else "?" if cell.units else "" for cell in row.cells]
        for row in shown
    ]
    return {
        "picture": tasks.tasks(columns, lines, said),
        "said": said,
        "columns": columns,
        "rows": [(say.text(row.task), say.text(row.type), each) for row, each in zip(shown, cells, strict=True)],
        "left_out": len(grid.rows) - len(shown),
    }


def _solved(row: TaskRow) -> str:
    if row.rate is None:
        return "undecided"
    return "by none" if row.rate == 0 else "by all" if row.rate == 1 else ""


def _timeline(report: RunReport, say: Say) -> dict[str, Any]:
    found: list[timeline.Row] = []
    moments: list[timeline.Moment] = []
    several = len(report.sources) > 1
    for source in report.sources:
        # A shard whose lane has stopped goes on on another: it has a row on each.
        bars: dict[tuple[str, str], list[timeline.Bar]] = {}
        for each in source.attempts:
            kind = "again" if each.attempt.again or each.attempt.late else str(each.attempt.status)
            shard = each.attempt.shard
            lane = each.attempt.lane or source.shards[shard] or ""
            bars.setdefault((lane, shard), []).append(timeline.Bar(each.attempt.started_at, each.ended_at, kind))
        prefix = f"{say.text(source.folder)} " if several else ""
        places = {shard: place for place, shard in enumerate(source.shards)}
        for lane, shard in sorted(bars, key=lambda key: (key[0], places[key[1]])):
            found.append(timeline.Row(say.text(lane), prefix + say.text(shard), sorted(bars[lane, shard])))
        moments += [
            timeline.Moment(each.started_at, f"{prefix}session {each.number}", begins=True)
            for each in source.sessions
            if each.started_at is not None and each.number > 1
        ]
        moments += [
            timeline.Moment(note.at, f"{say.text(note.lane)} halted")
            for note in source.lane_notes
            if note.event == "lane_halted"
        ]
    found.sort(key=lambda row: row.lane)
    bars_of_all = [bar for row in found for bar in row.bars]
    shards = len({row.name for row in found})
    said = f"{human.count(len(bars_of_all), 'attempt')} in {human.count(shards, 'shard')}"
    gaps = timeline.gaps_said(bars_of_all)
    return {
        "picture": timeline.timeline(found, moments, said) if bars_of_all else None,
        "said": f"{said}; {gaps}" if gaps else said,
        "kinds": [kind for kind in (*STATUSES, "again") if any(bar.kind == kind for bar in bars_of_all)],
        "rows": [_shard(row) for row in found[: timeline.MOST_BARS]],
        "is_area": len(bars_of_all) > timeline.MOST_BARS or len(found) > timeline.MOST_ROWS,
    }


def _shard(row: timeline.Row) -> Sequence[str]:
    first, last = min(bar.start for bar in row.bars), max(bar.end for bar in row.bars)
    busy = sum(bar.end - bar.start for bar in row.bars)
    not_ok = sum(bar.kind not in ("ok", "again") for bar in row.bars)
    return row.lane, row.name, f"{len(row.bars):,}", f"{not_ok:,}", utc(first), utc(last), human.duration(busy)


def _lanes(report: RunReport, say: Say) -> dict[str, Any] | None:
    """None: neither their logs nor the telemetry say anything."""
    tracks, table = [], []
    several = len(report.sources) > 1
    for source in report.sources:
        for lane in source.plan.spec.lanes:
            notes = [note for note in source.lane_notes if note.lane == lane.name]
            figures = [(each, each.lanes[lane.name]) for each in source.samples if lane.name in each.lanes]
            if not notes and not figures:
                continue
            track = _track(f"{say.text(source.folder)} {lane.name}" if several else lane.name, notes, figures)
            tracks.append(track)
            halts = [note for note in notes if note.event == "lane_halted"]
            statuses = sorted({f"HTTP {note.http_status}" for note in notes if note.http_status is not None})
            sums = LaneFigures()
            for _, each in figures:
                sums = sums.then(each)
            table.append(
                (
                    track.name,
                    f"{sums.turns:,}",
                    human.tokens(sums.tokens),
                    f"{sums.refused:,}",
                    f"{sum(note.event == 'lane_changed' for note in notes):,}",
                    _last_limit(track),
                    f"{len(track.pauses):,}",
                    human.duration(sum(end - start for start, end in track.pauses)),
                    ", ".join(statuses),
                    "; ".join(f"{utc(note.at)}: {note.reason}" for note in halts),
                )
            )
    if not tracks:
        return None
    spans = [(each.attempt.started_at, each.ended_at) for source in report.sources for each in source.attempts]
    description = "; ".join(f"{track.name}: {track.said}" for track in tracks[:20])
    return {"picture": lanes.lanes(tracks, spans, description), "rows": table}


def _track(name: str, notes: Sequence[LaneNote], figures: Sequence[tuple[Sample, LaneFigures]]) -> lanes.Track:
    """What the picture shows of a lane."""
    found = [(note.at, 60 * note.limit / note.window_s) for note in notes if note.limit and note.window_s]
    told = [(sample.at - sample.s, 60 * each.limit) for sample, each in figures if each.limit is not None]
    limits = found or [step for n, step in enumerate(told) if not n or told[n - 1][1] != step[1]]
    pauses = [(note.at, note.at + note.wait_s) for note in notes if note.wait_s is not None]
    halts = [note.at for note in notes if note.event == "lane_halted"]
    requests = [(s.at - s.s, s.at, 60 * each.turns / s.s) for s, each in figures if s.s > 0]
    refused = sum(each.refused for _, each in figures)
    track = lanes.Track(
        name, limits, pauses, halts, "", requests, [sample.at for sample, each in figures if each.refused]
    )
    said = [
        _last_limit(track),
        f"{refused:,} x HTTP 429" if refused else "",
        human.count(len(pauses), "pause") if pauses else "",
        "halted" if halts else "",
    ]
    return track._replace(said=", ".join(filter(None, said)))


def _last_limit(track: lanes.Track) -> str:
    return f"{track.limits[-1][1]:,.0f} requests/min at last" if track.limits else ""
