"""prealloc rescore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.bar import task_progress
from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag
from prealloc.cli.output import Stop, print_json, print_note
from prealloc.cli.signals import ended_by_signals


@command(good="every result is scored", bad="the scorer has failed on some")
def rescore(
    run: Annotated[Path, typer.Argument(help="A run folder, or an experiment.", metavar="RUN")],
    scorer: Annotated[
        str, typer.Option("--scorer", help="Called as function(task, result).", metavar="MODULE:FUNCTION")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What the scores are called.", metavar="NAME", show_default="the function's name"),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", help="Results at once.", metavar="N")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Score again what has a score of this name.")] = False,
    json: JsonFlag = False,
) -> None:
    """Judge a run's results by another scorer; no agent runs again.

    The scorer returns what a result may say of itself: {"success": true, "score": 0.5}, or true, false or a number. The
    journal stays as it is; the scores stand beside it, for --scores NAME of results, compare and export. What has a
    score of this name is left out.

    Examples:

      prealloc rescore run/ --scorer my_grader:strict
      prealloc rescore run/ --scorer my_grader:model --name v2 -c 8
    """
    from prealloc.api.rescore import rescore as judge

    with (
        ended_by_signals(nothing="what was scored is kept; the same command goes on"),
        task_progress("scoring", shown=not json) as progress,
    ):
        found = judge(run, scorer, name=name, concurrency=concurrency, force=force, progress=progress)
    if json:
        print_json(found)
    else:
        before = f", {found.before:,} before" if found.before else ""
        print_note(f"{found.scored:,} results scored as {found.name}{before}; see them: --scores {found.name}")
        if found.failed:
            print_note(f"the scorer has failed on {found.failed:,} results, e.g. {found.example}")
    if found.failed:
        raise Stop(1)
