"""prealloc export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, PricesOption, ScoresOption, read_prices_of
from prealloc.cli.output import print_json, print_note
from prealloc.cli.signals import ended_by_signals


@command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder, or an experiment.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; for inspect the folder.", metavar="FILE")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="The format.",
            metavar="[csv|jsonl|parquet|sqlite|inspect|junit]",
            show_default="what the name ends in",
        ),
    ] = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="A row for each attempt, not for each unit.")] = False,
    results: Annotated[
        bool, typer.Option("--results/--no-results", help="Add what the worker function returned, as JSON text.")
    ] = True,
    scores: ScoresOption = None,
    prices: PricesOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a run as a table for other programs.

    It has a row for each unit. Columns are the same in every format; factors are f_NAME, settings and results JSON
    text.

    Examples:

      prealloc export run/ --out units.parquet
      prealloc export run/ --out attempts.csv --attempts --no-results
      prealloc export run/ --out units.sqlite
      prealloc export run/ --to inspect --out logs/
      prealloc export run/ --out junit.xml
    """
    from prealloc.api import export as api

    priced = read_prices_of(prices)
    with ended_by_signals(out):
        count = api.export(
            run,
            out,
            to=cast("api.Format | None", to),
            attempts=attempts,
            results=results,
            scores=scores,
            prices=priced,
            force=force,
        )
    if json:
        print_json({"out": str(out), "rows": count})
    else:
        print_note(f"{count:,} rows written to {out}")
