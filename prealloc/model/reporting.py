"""What may be asked of an HTML report: every option, declared once."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from prealloc.model.comparison import CompareOptions
from prealloc.model.options import OneOf, Option, Text, Whole, options_of

DetailsOf = Literal["not-ok", "all", "none"]
MOST_ROWS = 1_000_000


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
