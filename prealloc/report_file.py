"""write_report(): a run as one HTML file. It joins what the API gathers and what report/html draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from prealloc.api.reports import gather
from prealloc.errors import InputError
from prealloc.files.atomic import new_path
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.answers import WrittenReport
from prealloc.model.keywords import ReportKeywords
from prealloc.report.html.page import MARK, render


def write_report(
    *runs: str | Path,
    out: str | Path = "report.html",
    prices: Mapping[str, Any] | None = None,
    **options: Unpack[ReportKeywords],
) -> WrittenReport:
    """Writes one HTML file about runs or experiments: rates, differences, failures, tasks, times, and every unit.

    It needs no network and no other file. Results, errors and logs are in it as text, keys masked; `details="none"`
    leaves them out. `options` are the fields of ReportOptions, and `prices` are as for outcomes(). A report that is at
    `out` is written over, anything else is refused. The same runs give the same bytes.
    Raises OptionsError with every mistake, InputError, JournalError.

    write_report("run/")
    write_report("before/", "after/", out="both.html", factor="run", margin="2%")
    """
    target = Path(out)
    made = render(gather(*runs, prices=prices, **options))
    with new_path(target, replace=_refuse_other) as beside:
        beside.write_bytes(made.html)
    missing = made.wanted - made.detailed
    return WrittenReport(target, len(made.html), made.units, made.listed, made.detailed, missing)


def _refuse_other(target: Path) -> None:
    """Raises InputError unless a report is there."""
    try:
        with open(open_regular(target), "rb") as file:
            found = file.read(len(MARK))
    except Unusable:
        found = b""
    if found != MARK:
        raise InputError("it is not a report, so it stays", where=str(target), hint="name another ‹out›")
