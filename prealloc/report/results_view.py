"""Results as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import msgspec
from rich.console import Console
from rich.text import Text

from prealloc.errors import Mistake, OptionsError
from prealloc.model.outcome import Status
from prealloc.report import human
from prealloc.report.grid import Column, draw, fit, known, left_out
from prealloc.report.page import Page, plain_for, prose
from prealloc.report.success import incomplete, mixed_note, rate_notes, sample_note
from prealloc.report.table import COLOURS
from prealloc.report.visible import value_or_nothing, visible
from prealloc.store.keys import SETTINGS_PREFIX
from prealloc.store.results import Results
from prealloc.store.results_row import ResultsRow
from prealloc.store.unit_outcome import UnitOutcome

Format = Literal["table", "md", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_NO_CAUSE = ("lane", "shard")
"""Keys that the plan has not dealt alike: what differs between their values has other causes."""
_ESCAPED = "\\|"
_OBJECTS = ("group", "means", "mixed", "rerun", "retried")
_NUMBERS = tuple(name for name in ResultsRow.__struct_fields__ if name not in _OBJECTS)


def print_results(found: Results, console: Console, *, form: str = "table") -> None:
    """Writes them to the console's stream. Raises OptionsError for a form that is not in FORMATS."""
    if form == "table":
        render_results(found).print(console)
    elif form == "md":
        write_data(markdown(found), console)
    else:
        write_data(results_text(found.rows, form), console)


def write_data(text: str, console: Console) -> None:
    """Writes JSON or CSV to the console's stream."""
    if console.is_terminal:
        # In a file the data stands as it is. A terminal would obey it.
        text = "".join(visible(line) + "\n" for line in text.splitlines())
    console.file.write(plain_for(console, text))
    console.file.flush()


def json_text(found: Any) -> str:
    """As JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def csv_text(lines: Iterable[Iterable[Any]]) -> str:
    """As CSV (RFC 4180); what is neither text nor a number as JSON."""
    out = io.StringIO()
    csv.writer(out).writerows([_csv_cell(each) for each in line] for line in lines)
    return out.getvalue()


def markdown_text(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table for a pull request or a paper."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(visible(cell).replace('|', _ESCAPED) for cell in line)} |\n" for line in lines)


def results_text(rows: Sequence[ResultsRow], form: str) -> str:
    """The rows as `json` (a list), `jsonl` (an object per line) or `csv` (names first)."""
    if form == "json":
        return json_text(rows)
    if form == "jsonl":
        return "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
    if form == "csv":
        return _csv(rows)
    raise OptionsError([Mistake("‹format›", f"{form!r} is unknown", f"use one of {', '.join(FORMATS)}")])


def render_results(found: Results) -> Page:
    """The rows as a table; if they are in groups, everything in a row below a line."""
    return Page(lambda width: _table(found, width))


def markdown(found: Results) -> str:
    """The table that `render_results` shows, whole."""
    columns = _columns(found)
    rows = ([column.cells[at].plain for column in columns] for at in range(len(columns[0].cells)))
    return markdown_text([column.title for column in columns], rows)


def unit_row(outcome: UnitOutcome) -> dict[str, Any]:
    """A unit as plain values, with the attempt that counts, its result, and the first one where that is another."""
    names = ("shard", "task", "repeat", "type", "status", "settings")
    row: dict[str, Any] = {name: getattr(outcome, name) for name in names}
    row |= {"unit": str(outcome.unit), "attempt": outcome.read()}
    row |= {"first": outcome.read_first() if outcome.first != outcome.outcome else None}
    return row | ({"run": outcome.run, "later": outcome.later} if outcome.run is not None else {})


def units_csv(outcomes: Sequence[UnitOutcome]) -> str:
    """A row per unit: what became of it, in which time, with which settings. Results are in the JSON alone."""
    settings = sorted({name for outcome in outcomes for name in outcome.settings})
    names = ("shard", "task", "repeat", "type", "status", "first_status", "success", "first_success", "score")
    numbers = ("attempts", "waiting_s", "working_s", "cost", "unpriced_tokens")
    runs = ("run",) if any(outcome.run is not None for outcome in outcomes) else ()
    names = (*names, *runs, *numbers)
    lines: list[Sequence[Any]] = [
        ("unit", *names, "error_type", "error_message", *(f"{SETTINGS_PREFIX}{name}" for name in settings))
    ]
    for outcome in outcomes:
        error = outcome.error
        told = (error.type, error.message) if error is not None else (None, None)
        own = (getattr(outcome, name) for name in names)
        lines.append((str(outcome.unit), *own, *told, *map(outcome.settings.get, settings)))
    return csv_text(lines)


def _csv(rows: Sequence[ResultsRow]) -> str:
    keys = list(rows[0].group) if rows else []
    # A setting may be named `ok` or `units`: a name must not stand for two columns.
    names = [f"{SETTINGS_PREFIX}{key}" if key in _NUMBERS else key for key in keys]
    means = list(rows[0].means) if rows else []
    lines: list[Sequence[Any]] = [(*names, *_NUMBERS, *(f"mean.{name}" for name in means))]
    for row in rows:
        of_fields = (mean.value if (mean := row.means[name]) else None for name in means)
        lines.append((*map(row.group.get, keys), *(getattr(row, name) for name in _NUMBERS), *of_fields))
    return csv_text(lines)


def _csv_cell(thing: Any) -> str | int | float | None:
    if thing is None or (isinstance(thing, str | int | float) and not isinstance(thing, bool)):
        return thing
    return msgspec.json.encode(thing).decode()


def _table(found: Results, width: int | None) -> list[Text]:
    if not found.rows:
        return [Text("no units", style="dim")]
    columns = _columns(found)
    lines = draw(fit(columns, width))
    if _is_grouped(found):
        lines.insert(-1, Text("─" * lines[0].cell_len, style="dim"))
    total = found.total
    notes = rate_notes(total)
    notes += _of_the_rows(found)
    names = list(dict.fromkeys(name for row in found.rows for name in row.mixed))
    if note := mixed_note(names, f"tell them apart with --by {','.join(names)}"):
        notes.append(note)
    if total.unpriced_tokens and total.cost is not None:
        notes.append(f"{human.count(total.unpriced_tokens, 'token')} without a price are in no cost")
    if total.scorer is not None:
        notes.append(f"judged by {visible(total.scorer)}")
    if _reported(found) and (note := sample_note(total)):
        notes.append(note)
    return [
        *incomplete(total.decided, total.units),
        *lines,
        *left_out(columns, width),
        *(prose(note, "dim") for note in notes),
    ]


def _columns(found: Results) -> list[Column]:
    every = [*found.rows, found.total] if _is_grouped(found) else found.rows
    level, k = found.total.level, found.total.pass_k
    is_first = found.total.outcome == "first"

    def numbers(
        title: str, shown: Callable[[ResultsRow], str], drop: int = 0, short: str | None = None, is_needed: bool = True
    ) -> list[Column]:
        return [Column(title, [known(shown(row)) for row in every], drop=drop, short=short)] if is_needed else []

    return [
        *_groups(found),
        *numbers("tasks", lambda row: str(row.tasks), drop=20, is_needed=any(row.tasks != row.units for row in every)),
        *numbers("units", lambda row: str(row.units)),
        *_statuses(every),
        *numbers("success" if is_first else "success, latest", lambda row: human.share(row.rate), short="succ"),
        *numbers(f"{level * 100:g}% CI", lambda row: _between(row.low, row.high), drop=12, is_needed=_reported(found)),
        *numbers(
            "bounds",
            lambda row: _between(row.worst, row.best),
            drop=13,
            is_needed=_reported(found) and found.total.decided != found.total.units,
        ),
        *numbers(
            "latest" if is_first else "first",
            lambda row: human.share(row.rate_latest if is_first else row.rate_first),
            is_needed=any(row.rate_latest != row.rate_first for row in every),
        ),
        *numbers(
            "unknown",
            lambda row: str(row.decided - row.rated),
            is_needed=_reported(found) and found.total.decided != found.total.rated,
        ),
        *(
            column
            for sign, field in (("@", "pass_at"), ("^", "pass_hat"))[found.asked.pass_k is None :]
            for column in numbers(f"pass{sign}{k}", partial(_share, field), drop=18, is_needed=_passes(found, every))
        ),
        *numbers(
            "score",
            lambda row: _mean_text(row.mean_score, row.score_high),
            drop=10,
            is_needed=any(row.mean_score is not None for row in every),
        ),
        *(
            column
            for name in found.total.means
            for column in numbers(visible(name), partial(_field_mean, name), drop=9)
        ),
        *numbers("mean time", lambda row: human.duration(row.mean_working_s), drop=25, short="mean"),
        *numbers("p50 time", lambda row: human.duration(row.p50_working_s), drop=15, short="p50"),
        *numbers("p95 time", lambda row: human.duration(row.p95_working_s), drop=16, short="p95"),
        *numbers("tokens", lambda row: human.tokens(tokens_in(row)), drop=14, is_needed=found.total.usage is not None),
        *numbers(
            "cost", lambda row: human.dollars(row.cost), drop=8, is_needed=any(row.cost is not None for row in every)
        ),
        *numbers("waited", lambda row: human.duration(row.waiting_s), drop=35),
    ]


def tokens_in(row: ResultsRow) -> int | None:
    """Tokens of all models; None: nobody has said what was used."""
    return sum(tokens.total for tokens in row.usage.values()) if row.usage is not None else None


def _share(field: str, row: ResultsRow) -> str:
    return human.share(getattr(row, field))


def _passes(found: Results, every: Sequence[ResultsRow]) -> bool:
    """Whether pass@k and pass^k are known, and of the same k in all rows."""
    return found.total.pass_hat is not None and all(row.pass_k == found.total.pass_k for row in every)


def _of_the_rows(found: Results) -> list[str]:
    """What a reader of several rows must know."""
    total, keys = found.total, list(found.rows[0].group)
    told = []
    if found.left_out:
        told.append(f"{human.count(found.left_out, 'further row')} not shown; the last line is of all")
    if unlike := [key for key in keys if key in _NO_CAUSE]:
        told.append(
            f"different {visible(unlike[0])}s have different tasks and settings: their rates cannot be compared"
        )
    if total.pass_k is not None and total.pass_tasks < total.pass_of:
        told.append(
            f"pass^{total.pass_k}: over {total.pass_tasks:,} of {total.pass_of:,} tasks of a cell; "
            "the others have fewer decided repeats"
        )
    return told


def _is_grouped(found: Results) -> bool:
    return bool(found.rows[0].group)


def _reported(found: Results) -> bool:
    """Whether any result says success."""
    return found.total.success_rate is not None


def _groups(found: Results) -> list[Column]:
    """A column for each key; the first one names the last row."""
    ends = iter([Text("all", style="bold")])
    return [
        Column(
            visible(key),
            [*(Text(value_or_nothing(row.group[key])) for row in found.rows), next(ends, Text())],
            right=False,
            least=10,
            middle=key in ("shard", "task"),
            names=True,
        )
        for key in found.rows[0].group
    ]


def _statuses(rows: Sequence[ResultsRow]) -> list[Column]:
    """Those that happened; `ok` always."""
    columns = []
    for status in Status:
        counts = [getattr(row, status) for row in rows]
        if status is Status.OK or any(counts):
            title = "oom" if status is Status.OUT_OF_MEMORY else str(status)
            colour = "" if status is Status.OK else COLOURS[status]
            columns.append(Column(title, [known(str(count), colour) for count in counts]))
    return columns


def _field_mean(name: str, row: ResultsRow) -> str:
    mean = row.means[name]
    return human.NOTHING if mean is None else _mean_text(mean.value, mean.high)


def _mean_text(mean: float | None, high: float | None) -> str:
    if mean is None:
        return human.NOTHING
    half = None if high is None else high - mean
    return f"{mean:.3g}" + (f" ±{half:.2g}" if half else "")


def _between(low: float | None, high: float | None) -> str:
    """`61..69%`."""
    return human.NOTHING if low is None or high is None else f"{low * 100:.0f}..{high * 100:.0f}%"
