"""Results as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import msgspec
from rich.console import Console
from rich.text import Text

from prealloc.errors import Mistake, OptionsError
from prealloc.model.outcome import Status, Successes
from prealloc.report import human
from prealloc.report.grid import Column, draw, fit, left_out
from prealloc.report.page import Page, plain_for, whole
from prealloc.report.success import incomplete, success_notes
from prealloc.report.table import COLOURS
from prealloc.report.visible import value, visible
from prealloc.store.results import SETTINGS_PREFIX, ResultsRow, UnitOutcome

Format = Literal["table", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_NUMBERS = tuple(name for name in ResultsRow.__struct_fields__ if name != "group")


def print_results(
    rows: Sequence[ResultsRow], console: Console, *, form: str = "table", total: ResultsRow | None = None
) -> None:
    """Writes the rows to the console's stream. `total` is a last line of the table, and of the table alone.

    Raises OptionsError for a form that is none of FORMATS.
    """
    if form == "table":
        render_results(rows, total=total).print(console)
        return
    write_data(results_text(rows, form), console)


def write_data(text: str, console: Console) -> None:
    """Writes JSON or CSV to the console's stream."""
    if console.is_terminal:
        # In a file the data stands as it is. A terminal would obey it.
        text = "".join(visible(line) + "\n" for line in text.splitlines())
    console.file.write(plain_for(console, text))
    console.file.flush()


def results_text(rows: Sequence[ResultsRow], form: str) -> str:
    """The rows as `json` (a list), `jsonl` (an object per line) or `csv` (RFC 4180, names first)."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"
    if form == "jsonl":
        return "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
    if form == "csv":
        return _csv(rows)
    raise OptionsError([Mistake("‹format›", f"{form!r} is unknown", f"use one of {', '.join(FORMATS)}")])


def render_results(rows: Sequence[ResultsRow], *, total: ResultsRow | None = None) -> Page:
    """The rows as a table; `total` is the row of everything, below a line."""
    return Page(lambda width: _table(rows, total, width))


def unit_row(outcome: UnitOutcome) -> dict[str, Any]:
    """A unit as plain values, with the attempt that counts, its result, and the first one where that is another."""
    names = ("shard", "task", "repeat", "type", "status", "settings")
    row: dict[str, Any] = {name: getattr(outcome, name) for name in names}
    row |= {"unit": str(outcome.unit), "attempt": outcome.read()}
    return row | {"first": outcome.read_first() if outcome.first != outcome.outcome else None}


def units_csv(outcomes: Sequence[UnitOutcome]) -> str:
    """A row per unit: what became of it, in which time, with which settings. Results are in the JSON alone."""
    settings = sorted({name for outcome in outcomes for name in outcome.settings})
    names = ("shard", "task", "repeat", "type", "status", "first_status", "success", "first_success", "score")
    numbers = ("attempts", "waiting_s", "working_s")
    out = io.StringIO()
    writer = csv.writer(out)
    titles = [f"{SETTINGS_PREFIX}{name}" for name in settings]
    writer.writerow(["unit", *names, *numbers, "error_type", "error_message", *titles])
    for outcome in outcomes:
        error = outcome.error
        told = [error.type, error.message] if error is not None else [None, None]
        own = [_csv_cell(getattr(outcome, name)) for name in (*names, *numbers)]
        writer.writerow([str(outcome.unit), *own, *told, *(_csv_cell(outcome.settings.get(name)) for name in settings)])
    return out.getvalue()


def _csv(rows: Sequence[ResultsRow]) -> str:
    keys = list(rows[0].group) if rows else []
    # A setting may be named `ok` or `units`: a name must not stand for two columns.
    names = [f"{SETTINGS_PREFIX}{key}" if key in _NUMBERS else key for key in keys]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*names, *_NUMBERS])
    for row in rows:
        group = [_csv_cell(row.group[key]) for key in keys]
        writer.writerow([*group, *(_csv_cell(getattr(row, name)) for name in _NUMBERS)])
    return out.getvalue()


def _csv_cell(thing: Any) -> str | int | float | None:
    if thing is None or (isinstance(thing, str | int | float) and not isinstance(thing, bool)):
        return thing
    return msgspec.json.encode(thing).decode()


def _table(rows: Sequence[ResultsRow], total: ResultsRow | None, width: int | None) -> list[Text]:
    if not rows:
        return [Text("no units", style="dim")]
    every = [*rows, total] if total is not None else list(rows)

    def numbers(
        title: str,
        shown: Callable[[ResultsRow], str],
        drop: int = 0,
        colour: str = "",
        short: str | None = None,
    ) -> Column:
        cells = [_cell(shown(row), colour) for row in every]
        return Column(title, cells, drop=drop, short=short)

    groups = [
        Column(
            visible(key),
            [*(Text(_group(row, key)) for row in rows), *([Text()] if total is not None else [])],
            right=False,
            least=10,
            middle=key in ("shard", "task"),
        )
        for key in rows[0].group
    ]
    if total is not None and groups:
        groups[0].cells[-1].append("all", style="bold")
    everything = _whole(rows)
    rerun = any(row.rate_latest != row.rate for row in rows)
    some_unknown = everything.reported and everything.unknown
    columns = [
        *groups,
        numbers("units", lambda row: str(row.units)),
        *(_statuses(every)),
        numbers("success", lambda row: human.share(row.rate), short="succ"),
        *([numbers("latest", lambda row: human.share(row.rate_latest))] if rerun else []),
        *([numbers("unknown", lambda row: str(row.decided - row.rated))] if some_unknown else []),
        numbers("score", lambda row: _score(row.mean_score), drop=10),
        numbers("mean", lambda row: human.duration(row.mean_working_s), drop=25),
        numbers("p50", lambda row: human.duration(row.p50_working_s), drop=15),
        numbers("p95", lambda row: human.duration(row.p95_working_s), drop=16),
        numbers("waited", lambda row: human.duration(row.waiting_s), drop=35),
    ]
    lines = draw(fit(columns, width))
    if total is not None:
        lines.insert(-1, Text("─" * lines[0].cell_len, style="dim"))
    if text := incomplete(everything.decided, sum(row.units for row in rows)):
        lines.insert(0, Text(text, style="yellow"))
    lines += left_out(columns, width)
    return [*lines, *(whole(Text(note, style="dim")) for note in success_notes(everything))]


def _whole(rows: Sequence[ResultsRow]) -> Successes:
    """What all rows say of success: together they are every unit of the run."""
    return Successes(
        decided=sum(row.decided for row in rows),
        unknown=sum(row.decided - row.rated for row in rows),
        unclear=sum(row.success_unclear for row in rows),
        example=next((row.success_example for row in rows if row.success_example is not None), None),
        reported=any(row.success_rate is not None for row in rows),
    )


def _statuses(rows: Sequence[ResultsRow]) -> list[Column]:
    """Those that happened; `ok` always."""
    columns = []
    for status in Status:
        counts = [getattr(row, status) for row in rows]
        if status is Status.OK or any(counts):
            title = "oom" if status is Status.OUT_OF_MEMORY else str(status)
            colour = "" if status is Status.OK else COLOURS[status]
            columns.append(Column(title, [_cell(str(count), colour) for count in counts]))
    return columns


def _cell(text: str, colour: str = "") -> Text:
    return Text(text, style="dim" if text in ("0", human.NOTHING) else colour)


def _group(row: ResultsRow, key: str) -> str:
    thing = row.group[key]
    return human.NOTHING if thing is None else value(thing)


def _score(score: float | None) -> str:
    return human.NOTHING if score is None else f"{score:.3g}"
