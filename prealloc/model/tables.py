"""What may be asked of a table of results: every option, declared once."""

from __future__ import annotations

from typing import Annotated

import msgspec

from prealloc.model.comparison import CompareOptions, OutcomeOf
from prealloc.model.options import Names, Option, Share, Text, Whole, options_of

TASK = "task"
"""What the sample is made of, unless tasks come in groups."""
MOST_ROWS = 1_000_000


class ResultsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The question of results()."""

    by: Annotated[
        tuple[str, ...],
        Option(
            Names("KEYS"),
            "A row for each value of these: type, task, status, run, a setting, a field of tasks or results.",
        ),
    ] = ()
    mean: Annotated[tuple[str, ...], Option(Names("FIELDS"), "Mean of these fields of results or tasks.")] = ()
    sort: Annotated[
        str | None,
        Option(Text("COLUMN"), "Sort by this column, the largest first; -COLUMN: the smallest.", unset="the keys"),
    ] = None
    top: Annotated[int | None, Option(Whole(1, MOST_ROWS), "Only the first N rows.", unset="all")] = None
    outcome: Annotated[OutcomeOf, options_of(CompareOptions)["outcome"]] = "first"
    level: Annotated[float, Option(Share(), "Confidence: how often an interval holds the true rate.")] = 0.95
    cluster: Annotated[
        str, Option(Text("KEY"), "What counts as one observation: a task, or all tasks with the same value of this.")
    ] = TASK
    pass_k: Annotated[
        int | None, Option(Whole(1, 1000), "The k of pass@k and pass^k.", unset="the number of repeats")
    ] = None
    scores: Annotated[str | None, options_of(CompareOptions)["scores"]] = None
