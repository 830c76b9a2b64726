"""What may be asked of a table of results: every option, declared once."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec

from prealloc.model.comparison import CompareOptions, OutcomeOf
from prealloc.model.options import Names, OneOf, Option, Share, Text, Whole, options_of

TASK = "task"
"""What the sample is made of, unless tasks come in groups."""
MOST_ROWS = 1_000_000


class ResultsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The question of results()."""

    by: Annotated[
        tuple[str, ...],
        Option(Names("KEYS"), "A row for each type, task, status, setting, field of tasks or results, run."),
    ] = ()
    mean: Annotated[tuple[str, ...], Option(Names("FIELDS"), "Mean of these fields of results or tasks.")] = ()
    sort: Annotated[
        str | None,
        Option(Text("COLUMN"), "Rows by this column, the largest first; -COLUMN: the smallest.", unset="the keys"),
    ] = None
    top: Annotated[int | None, Option(Whole(1, MOST_ROWS), "Only the first N rows.", unset="all")] = None
    outcome: Annotated[
        OutcomeOf, Option(OneOf(get_args(OutcomeOf)), "Of units that ran again after a final outcome.")
    ] = "first"
    level: Annotated[float, Option(Share(), "How often an interval holds the true rate.")] = 0.95
    cluster: Annotated[
        str, Option(Text("KEY"), "What the sample is made of: task, or what groups of tasks have in common.")
    ] = TASK
    pass_k: Annotated[
        int | None, Option(Whole(1, 1000), "The k of pass@k and pass^k.", unset="the number of repeats")
    ] = None
    scores: Annotated[str | None, options_of(CompareOptions)["scores"]] = None
