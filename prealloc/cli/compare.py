"""prealloc compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, split_names, takes
from prealloc.cli.output import Stop, print_note
from prealloc.errors import Mistake, refuse
from prealloc.model.options import read_keywords
from prealloc.model.questions import CompareOptions

_FORMATS = ("table", "md", "json", "csv")


@command(good="all was compared; with --gate: nothing is worse than the margin", bad="the gate is closed")
@takes(CompareOptions)
def compare(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders or experiments.", metavar="RUN...")],
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit code 1 unless everything is shown to be no worse than the margin."),
    ] = False,
    tasks: Annotated[bool, typer.Option("--tasks", help="Also list the tasks that tell the two apart.")] = False,
    format: Annotated[
        str | None,
        typer.Option("--format", help="How to write it.", metavar="[table|md|json|csv]", show_default="table"),
    ] = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Say which value of a factor is better on the same tasks.

    It also says whether the data show that, or how large a difference they would show. Tasks are paired where all
    other factors are equal. A task is one observation, however often it was run.

    Examples:

      prealloc compare run/ --factor model --baseline small
      prealloc compare run/ --factor prompt_type --by model --tasks
      prealloc compare before/ after/ --factor run --margin 2% --gate
      prealloc compare run/ --factor model --metric working_s --format md
    """
    mistakes: list[Mistake] = []
    if gate and "margin" not in given:
        mistakes.append(Mistake("--gate", "no margin is given", "add --margin 2%, say"))
    if format is not None and format not in _FORMATS:
        mistakes.append(Mistake("--format", f"{format!r} is unknown", f"use one of {', '.join(_FORMATS)}"))
    if "by" in given:
        given["by"] = split_names(given["by"])
    read_keywords(CompareOptions, given, mistakes)  # told with the others
    refuse(mistakes)
    from rich.console import Console

    from prealloc.api.compare import compare as compare_runs
    from prealloc.report.compare_view import print_comparison
    from prealloc.store.comparison import closes_gate

    found = compare_runs(*runs, **given)
    print_comparison(found, Console(), form="json" if json else format or "table", tasks=tasks)
    if gate and (reasons := closes_gate(found)):
        for reason in reasons:
            print_note(f"the gate is closed: {reason}")
        raise Stop(1)
