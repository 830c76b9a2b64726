"""What may be asked of runs, every option declared once: of a comparison, a table of results, an HTML report."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from prealloc.model.options import Names, OneOf, Option, Share, Text, Whole, options_of

Metric = Literal["success", "score", "working_s"]
METRICS: tuple[Metric, ...] = get_args(Metric)
OutcomeOf = Literal["first", "latest"]
Adjust = Literal["holm", "bh", "none"]
DetailsOf = Literal["not-ok", "all", "none"]
TASK = "task"
"""What the sample is made of, unless tasks come in groups."""
MOST_ROWS = 1_000_000


class CompareOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The question of compare()."""

    factor: Annotated[str, Option(Text("NAME"), "What is compared: a factor, a setting, or run for several runs.")] = ""
    baseline: Annotated[
        str | None, Option(Text("VALUE"), "Compare each value with this one.", unset="each with each")
    ] = None
    by: Annotated[
        tuple[str, ...], Option(Names("NAMES"), "A comparison for each value of these factors, or of type.")
    ] = ()
    metric: Annotated[Metric, Option(OneOf(METRICS), "What is compared on each task; working_s: its working time.")] = (
        "success"
    )
    outcome: Annotated[
        OutcomeOf, Option(OneOf(get_args(OutcomeOf)), "Which outcome counts of units that ran again after a final one.")
    ] = "first"
    adjust: Annotated[
        Adjust,
        Option(
            OneOf(get_args(Adjust)), "How p is adjusted for several comparisons: Holm, Benjamini-Hochberg, not at all."
        ),
    ] = "holm"
    level: Annotated[float, Option(Share(), "Confidence: how often an interval holds the true difference.")] = 0.95
    scores: Annotated[
        str | None, Option(Text("NAME"), "Judge by these scores of `prealloc rescore`.", unset="the results' own")
    ] = None
    margin: Annotated[float | None, Option(Share(), "A loss of so many points does not matter.", unset="none")] = None


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


class ReportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the report of write_report()."""

    factor: Annotated[
        str | None,
        Option(Text("NAME"), "What is compared: a factor, a setting, or run for several runs.", unset="the first"),
    ] = None
    baseline: Annotated[
        str | None, Option(Text("VALUE"), "The value that the others are compared with.", unset="the first")
    ] = None
    margin: Annotated[float | None, options_of(CompareOptions)["margin"]] = None
    scores: Annotated[str | None, options_of(CompareOptions)["scores"]] = None
    rows: Annotated[
        int, Option(Whole(1, MOST_ROWS), "Most units to list: all that are not ok first, then a sample.")
    ] = 200_000
    details: Annotated[
        DetailsOf,
        Option(
            OneOf(get_args(DetailsOf)),
            "Which units have errors, results and attempts in the file; not-ok adds the slowest.",
        ),
    ] = "not-ok"
    title: Annotated[str | None, Option(Text(), "The heading.", unset="the names of the runs")] = None
