"""What may be compared, and how: every option of a comparison, declared once."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from prealloc.model.options import Names, OneOf, Option, Share, Text

Metric = Literal["success", "score", "working_s"]
METRICS: tuple[Metric, ...] = get_args(Metric)
OutcomeOf = Literal["first", "latest"]
Adjust = Literal["holm", "bh", "none"]


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
