"""What a task library holds, as a page."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from prealloc.library.stats import FieldStats, Stats
from prealloc.report import human
from prealloc.report.grid import Column, table
from prealloc.report.page import Page, prose
from prealloc.report.visible import visible

_WAYS = {
    "json": "a JSON file, read whole",
    "index": "a JSON file with an index, read task by task",
    "stream": "read in one pass",
    "database": "a SQLite database, read task by task",
    "parts": "a folder of parts, read part by part",
    "parquet": "a Parquet file, read row group by row group",
    "pool": "a task pool, mapped into memory",
}


def render_stats(stats: Stats) -> Page:
    """Head, types with the sizes of their workflows, fields, and the trial if there was one."""
    return Page(
        lambda width: [*_head(stats), Text(), *_types(stats, width), Text(), *_fields(stats, width), *_trial(stats)]
    )


def _head(stats: Stats) -> list[Text]:
    lines = [
        Text.assemble((visible(stats.path), "bold")),
        Text(f"{human.count(stats.tasks, 'task')}, {human.size(stats.bytes)}; {_WAYS[stats.way]}"),
        Text(f"sha256 {stats.sha256}", style="dim"),
    ]
    if stats.without_workflow:
        lines.append(Text(f"{human.count(stats.without_workflow, 'task')} without a workflow", style="yellow"))
    if stats.two_ids:
        lines.append(Text(f"{human.count(stats.two_ids, 'task')} with an instance_id that is not their id"))
    return lines


def _types(stats: Stats, width: int | None) -> list[Text]:
    rows = stats.types

    def numbers(name: str) -> list[Text]:
        return [Text("-" if row.sizes is None else human.size(getattr(row.sizes, name))) for row in rows]

    columns = [
        Column("type", [Text(visible(row.type)) for row in rows], right=False, least=24, middle=True),
        Column("tasks", [Text(f"{row.tasks:,}") for row in rows]),
        Column("share", [Text(human.percent(row.tasks, stats.tasks)) for row in rows], drop=1),
        Column("smallest", numbers("smallest"), drop=3),
        Column("median workflow", numbers("median"), short="median"),
        Column("largest", numbers("largest"), drop=2),
        Column("looked at", [Text(f"{row.looked_at:,}") for row in rows], drop=4),
    ]
    return table(columns, width)


def _fields(stats: Stats, width: int | None) -> list[Text]:
    found: dict[str, FieldStats | None] = {row.name: row for row in stats.fields}
    found.setdefault("workflow", None)

    def numbers(number: Callable[[FieldStats], str]) -> list[Text]:
        return [Text("-" if row is None else number(row)) for row in found.values()]

    few = stats.looked_at < stats.tasks
    columns = [
        Column("field", [Text(visible(name)) for name in found], right=False, least=24, middle=True),
        Column(
            f"of {human.count(stats.looked_at, 'task')} looked at" if few else "tasks",
            numbers(lambda row: f"{row.tasks:,}"),
            short="tasks",
        ),
        Column("median", numbers(lambda row: human.size(row.median))),
        Column("largest", numbers(lambda row: human.size(row.largest)), drop=1),
    ]
    return table(columns, width)


def _trial(stats: Stats) -> list[Text]:
    trial = stats.trial
    if trial is None:
        return []
    per_s = trial.reads / trial.seconds if trial.seconds else None
    cache = human.size(trial.cache_bytes)
    return [
        Text(),
        prose(
            f"{human.count(trial.reads, 'random read')}: {human.rate(per_s)}, "
            f"{human.share(trial.hit_rate)} of them from a cache of {cache}"
        ),
    ]
