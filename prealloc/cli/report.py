"""prealloc report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, PricesOption, read_prices_of, takes
from prealloc.cli.output import print_json
from prealloc.model.questions import ReportOptions


@command()
@takes(ReportOptions)
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders or experiments.", metavar="RUN...")],
    out: Annotated[
        Path, typer.Option("--out", help="The file to write; an older report there is replaced.", metavar="FILE")
    ] = Path("report.html"),
    prices: PricesOption = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Write one HTML file about a run, for any browser.

    It has rates, differences, why units failed, tasks, times, and every unit.

    It needs no network and no other file, and works while the run goes on. Errors, results and logs are in it.

    Examples:

      prealloc report run/
      prealloc report run/ --factor model --baseline small --margin 2%
      prealloc report before/ after/ --factor run --details none
    """
    from rich.console import Console

    from prealloc.report.written_view import render_written
    from prealloc.report_file import write_report

    priced = read_prices_of(prices)
    with Console(stderr=True).status("reading, comparing, drawing: a minute for 200,000 units"):
        made = write_report(*runs, out=out, prices=priced, **given)
    if json:
        print_json(made._asdict())
        return
    render_written(made).print()
