"""prealloc results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.options import PricesOption, parsed, read_prices_of, takes
from prealloc.cli.output import Stop, print_json, print_note
from prealloc.errors import Mistake, refuse
from prealloc.model.options import Share, read_keywords
from prealloc.model.outcome import Status
from prealloc.model.questions import ResultsOptions

if TYPE_CHECKING:
    from prealloc.store.unit_outcome import UnitOutcome


@command(good="done", bad="success is under --fail-under")
@takes(ResultsOptions)
def results(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders or experiments.", metavar="RUN...")],
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="How to write it.",
            metavar="[table|md|json|jsonl|csv]",
            show_default="table; jsonl with --units",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json; with --units jsonl.")] = False,
    units: Annotated[
        bool, typer.Option("--units", help="A row for each unit; in JSON with its settings, error and full result.")
    ] = False,
    not_ok: Annotated[bool, typer.Option("--not-ok", help="With --units: only those that are not ok.")] = False,
    prices: PricesOption = None,
    fail_under: Annotated[
        str | None,
        typer.Option("--fail-under", help="Exit code 1 if success is lower, or not known.", metavar="P%"),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Show a run's outcomes: success rate, mean score, times, costs.

    Every planned unit is in one row, run or not.

    Examples:

      prealloc results run/ --by type
      prealloc results run/ --by model,prompt_type --format csv > table.csv
      prealloc results run/ --by task --sort success --top 10
      prealloc results run/ --by error.type --mean turns,usage.total
      prealloc results run/ --outcome latest --level 99%
      prealloc results run/ --units --format csv > units.csv
      prealloc results run/ --units --not-ok
      prealloc results before/ after/ --by run,model
      prealloc results run/ --by model --prices exp.toml
      prealloc results run/ --fail-under 80%
    """
    from prealloc.api import outcomes as api
    from prealloc.report.results_view import FORMATS

    formats = [each for each in FORMATS if not (units and each in ("table", "md"))]
    mistakes: list[Mistake] = []
    if not_ok and not units:
        mistakes.append(Mistake("--not-ok", "it says which units are listed", "add --units"))
    mistakes += [
        Mistake(f"‹{name}›", "it is of groups, and --units lists each unit", "omit one of them")
        for name in given
        if units and name != "scores"
    ]
    if format is not None and format not in formats:
        problem = "it is of groups, and --units lists each unit" if format in FORMATS else f"{format!r} is unknown"
        mistakes.append(Mistake("--format", problem, f"use one of {', '.join(formats)}"))
    least = Share(ends=True).read("--fail-under", fail_under, mistakes) if fail_under is not None else None
    given = parsed(given, mistakes)
    read_keywords(ResultsOptions, given, mistakes)  # told with the others
    refuse(mistakes)
    priced = read_prices_of(prices)
    if units:
        every = (each for run in runs for each in api.outcomes(run, scores=given.get("scores"), prices=priced))
        listed = (each for each in every if not (not_ok and each.status is Status.OK))
        _print_units(listed, "jsonl" if json or format is None else format)
        return
    from rich.console import Console

    from prealloc.report.results_view import print_results

    found = api.tabulated(*runs, prices=priced, **given)
    print_results(found, Console(), form="json" if json else format or "table")
    if least is not None and not (found.total.rate is not None and found.total.rate >= least):
        rate = "not known" if found.total.rate is None else f"{found.total.rate * 100:.1f}%"
        print_note(f"success is {rate}, and {least * 100:g}% are required")
        raise Stop(1)


def _print_units(found: Iterator[UnitOutcome], form: str) -> None:
    """Every unit in a row. JSON lines come one by one: a result may be large."""
    from prealloc.report.results_view import unit_row, units_csv, write_data

    if form == "csv":
        from rich.console import Console

        write_data(units_csv(list(found)), Console())
    elif form == "json":
        print_json([unit_row(each) for each in found])
    else:
        for each in found:
            print_json(unit_row(each))
