"""prealloc ctl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, takes
from prealloc.cli.output import print_json, print_note
from prealloc.errors import Mistake, OptionsError
from prealloc.model.steer import Change


@command(good="the run has taken the change")
@takes(Change)
def ctl(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    pause: Annotated[bool, typer.Option("--pause", help="Start no further task; running tasks may end.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Start tasks again after --pause.")] = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Change a run while it runs: workers, rates, a pause.

    If less may run at once than before, running tasks may still end. A change lasts until the run ends or changes
    again. Without options it changes nothing and shows how the run goes on.

    Examples:

      prealloc ctl run/
      prealloc ctl run/ --workers 10 --concurrency 4
      prealloc ctl run/ --lane k1 --rate 5
      prealloc ctl run/ --pause
    """
    from prealloc.api import control as api

    if pause and resume:
        raise OptionsError([Mistake("--pause and --resume", "they contradict each other", "keep one")])
    if pause or resume:
        given["pause"] = pause
    course = api.change(run, **given)
    if json:
        print_json(course)
        return
    from prealloc.report.status_view import render_course

    render_course(course, str(run)).print()
    for note in course.notes:
        print_note(note)
