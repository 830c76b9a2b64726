"""How far a run is, as a page: what `prealloc status` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from prealloc.model.events import LaneHalted, LanePaused
from prealloc.model.outcome import Status, Successes
from prealloc.report import human
from prealloc.report.grid import Column, draw, fit, left_out
from prealloc.report.lanes import waits, why_halted
from prealloc.report.page import Page, whole
from prealloc.report.success import incomplete, success_notes
from prealloc.report.table import COLOURS
from prealloc.report.visible import visible

FIRST_SHARDS = 50


def render_status(
    *,
    run: str,
    plan: str,
    worker: str,
    master: int | None,
    sessions: int,
    shards: Mapping[str, Mapping[str, int]],
    census: Mapping[str, int],
    success: Successes,
    shard_success: Mapping[str, Successes],
    library_opens: int,
    warnings: Sequence[str],
    resume: str | None,
    halted: Sequence[LaneHalted] = (),
    waiting: Sequence[LanePaused] = (),
) -> Page:
    """A row per shard with its units by status, the total, who runs it, and what runs the rest."""

    def build(width: int | None) -> list[Text]:
        units = sum(census.values())
        state = f"running (process {master})" if master else "not running"
        facts = [
            ("run", f"{visible(run)}, {state}, {human.count(sessions, 'session')}"),
            ("plan", f"{plan[:12]}, worker {visible(worker)}"),
            ("done", f"{success.decided} of {human.count(units, 'unit')}"),  # infra and cancelled are run again
            ("library opens by workers", str(library_opens)),
        ]
        lines = [Text(f"{name}: {text}") for name, text in facts]
        if text := incomplete(success.decided, units):
            lines.insert(0, Text(text, style="yellow"))
        columns = [*_columns(shards, census), *_success(list(shards), shard_success, success)]
        lines += [Text(), *draw(fit(columns, width))]
        lines += left_out(columns, width)
        if len(shards) > FIRST_SHARDS:
            lines.append(Text(f"… {len(shards) - FIRST_SHARDS} more shards"))
        lines += [whole(Text(note, style="dim")) for note in success_notes(success)]
        lines += [
            whole(Text(f"lane {visible(lane.lane)} halted: {why_halted(lane, run)}", style="red")) for lane in halted
        ]
        for lane in waiting:
            told = waits(lane.wait_s, lane.http_status)
            lines.append(Text(f"lane {visible(lane.lane)} {told}", style="yellow"))
        lines += [Text(f"warning: {visible(text)}", style="yellow") for text in warnings]
        if resume:
            lines += [Text(), whole(Text(f"to run the rest: {resume}"))]
        return lines

    return Page(build)


def _columns(shards: Mapping[str, Mapping[str, int]], census: Mapping[str, int]) -> list[Column]:
    names = list(shards)[:FIRST_SHARDS]
    rows = [*(shards[name] for name in names), census]
    columns = [Column("shard", [Text(visible(name)) for name in names] + [Text("total", style="bold")], right=False)]
    columns.append(Column("units", [Text(str(sum(row.values()))) for row in rows], right=True))
    for status in Status:
        if census.get(status.value):
            colour = COLOURS[status]
            cells = [Text(str(n), style=colour if n else "dim") for n in (row.get(status.value, 0) for row in rows)]
            columns.append(Column(status.value, cells, right=True))
    return columns


def _success(names: Sequence[str], by_shard: Mapping[str, Successes], whole: Successes) -> list[Column]:
    rows = [*(by_shard[name] for name in names[:FIRST_SHARDS]), whole]
    columns = [Column("success", [Text(human.share(row.rate(whole.reported))) for row in rows])]
    if whole.reported and whole.unknown:
        columns.append(Column("unknown", [Text(str(row.unknown), "" if row.unknown else "dim") for row in rows]))
    return columns
