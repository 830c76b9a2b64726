"""Results in numbers: outcomes in groups, and the rows of these sorted. The pictures are in results_view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.outcome import Status
from prealloc.model.questions import TASK, ResultsOptions
from prealloc.model.words import shown
from prealloc.store.keys import check_keys, key_value, known_keys, paths_in, place_of, with_numbers, with_result_fields
from prealloc.store.results_row import ResultsRow, row_of
from prealloc.store.unit_outcome import UnitOutcome


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A run's units in groups, and all of them in one."""

    rows: list[ResultsRow]
    total: ResultsRow
    asked: ResultsOptions
    left_out: int
    """Rows behind the first that were asked for."""


EVERYTHING = ResultsOptions()


def tabulate(outcomes: Iterable[UnitOutcome], asked: ResultsOptions = EVERYTHING) -> Results:
    """The rows of `aggregate`, sorted and cut as asked, and the row that it gives without keys."""
    outcomes = list(outcomes)
    rows = aggregate(outcomes, asked)
    whole = msgspec.structs.replace(asked, by=(), sort=None)
    total = aggregate(outcomes, whole)[0] if asked.by else rows[0]
    if asked.sort is not None:
        rows = sorted_rows(rows, asked.sort)
    first_rows = rows[: asked.top]
    return Results(rows=first_rows, total=total, asked=asked, left_out=len(rows) - len(first_rows))


def aggregate(outcomes: Iterable[UnitOutcome], asked: ResultsOptions = EVERYTHING) -> list[ResultsRow]:
    """One row per combination of the keys' values, in their order; without keys one row for everything.

    Keys are those of KEYS and FURTHER_KEYS, `run` where there are several, the names of settings (`settings.NAME` where
    the name is also one of KEYS), the kept fields that the outcomes have, and any field of a result; `a.b` is b in the
    object a. Means are of fields of results, kept fields and settings. Raises OptionsError for what is not there,
    listing what is.
    """
    outcomes = list(outcomes)
    by = asked.by
    keys = (*by, *([asked.cluster] if asked.cluster != TASK else []))
    known = known_keys(outcomes)
    known += paths_in(outcomes, [name for name in keys if name not in known])
    outcomes, found = with_result_fields(outcomes, [name for name in keys if name not in known])
    outcomes, fields = with_numbers(outcomes, asked.mean)
    check_keys(asked, [*known, *found], fields)
    # Decided once for the whole run: groups judged by different rules could not be compared.
    reported = any(o.success is not None or o.first_success is not None for o in outcomes)
    groups: dict[bytes, tuple[list[Any], list[UnitOutcome]]] = {} if by else {b"[]": ([], [])}
    for outcome in outcomes:
        values = [key_value(outcome, key) for key in by]
        # As JSON text: settings may be lists and objects, and 1, 1.0 and true are three values.
        text = msgspec.json.encode(values, order="sorted")
        groups.setdefault(text, (values, []))[1].append(outcome)
    ordered = sorted(groups.items(), key=lambda item: ([place_of(v) for v in item[1][0]], item[0]))
    return [row_of(dict(zip(by, values, strict=True)), members, asked, reported) for _, (values, members) in ordered]


COLUMNS = {
    "success": "rate",
    "latest": "rate_latest",
    "score": "mean_score",
    "mean": "mean_working_s",
    "p50": "p50_working_s",
    "p95": "p95_working_s",
    "mean time": "mean_working_s",
    "p50 time": "p50_working_s",
    "p95 time": "p95_working_s",
    "waited": "waiting_s",
    "oom": "out_of_memory",
}
"""Columns of the table that have another name than in JSON."""


def sorted_rows(rows: Sequence[ResultsRow], column: str) -> list[ResultsRow]:
    """The rows by a column, as the table or JSON names it: the largest first, or with - before it the smallest.

    What has no value comes last. Raises OptionsError for any other name.
    """
    name, up = column.removeprefix("-"), column.startswith("-")
    if not rows:
        return []
    field = COLUMNS.get(name, name)
    if name in rows[0].group:
        values = [row.group[name] for row in rows]
    elif name in rows[0].means:
        values = [field_mean.value if (field_mean := row.means[name]) is not None else None for row in rows]
    elif field in _NUMBERS:
        values = [getattr(row, field) for row in rows]
    else:
        there = ", ".join([*rows[0].group, *rows[0].means, *(each for each in COLUMNS if " " not in each), *_NUMBERS])
        raise OptionsError([Mistake("‹sort›", f"there is no column {shown(name)}", f"use one of {there}")])
    pairs = list(zip(values, rows, strict=True))
    known = sorted((pair for pair in pairs if pair[0] is not None), key=lambda pair: place_of(pair[0]), reverse=not up)
    return [row for _, row in known] + [row for value, row in pairs if value is None]


_NUMBERS = (
    *("tasks", "units", *(status.value for status in Status), "decided", "rated", "rate", "low", "high", "n_eff"),
    *("worst", "best", "pass_at", "pass_hat", "rate_first", "rate_latest", "success_rate", "mean_score"),
    *("mean_working_s", "p50_working_s", "p95_working_s", "waiting_s", "attempts"),
)
"""Fields of a row that are numbers to sort by."""
