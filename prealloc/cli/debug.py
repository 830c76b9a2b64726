"""prealloc debug."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag
from prealloc.cli.output import Stop, print_json
from prealloc.model.outcome import Status

_INTERRUPTED = 130


@command(good="the unit is ok", bad="it is not")
def debug(
    run: Annotated[Path, typer.Argument(help="A run folder, or a plan folder with --worker.", metavar="RUN|PLAN")],
    unit: Annotated[str, typer.Argument(help="The unit, as prealloc writes it: shard/task#repeat.", metavar="UNIT")],
    worker: Annotated[
        str | None,
        typer.Option("--worker", help="Instead of the run's worker function.", metavar="MODULE:FUNCTION"),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the attempt into the journal, as the unit's next one.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Run one unit in this process, with its settings.

    breakpoint() works, and you see what the task prints. Nothing is recorded, unless --record says so. The task has
    no timeout. Ctrl-C ends the attempt.

    Examples:

      prealloc debug run/ 'shard-03/math-0030#0'
      prealloc debug plan/ 'shard-03/math-0030#0' --worker my_agent:solve
      prealloc debug run/ 'shard-03/math-0030#0' --record
    """
    from prealloc.api import debug as api

    with _only_ours_on_stdout() if json else nullcontext():
        done = api.debug(run, unit, worker=worker, record=record)
    if json:
        print_json(done)
    else:
        from prealloc.report.unit_view import render_debugged

        note = f"recorded in {run}" if done.recorded else "not recorded"
        sys.stdout.write("\n")
        render_debugged(done.unit, done.attempt, note).print()
    if done.attempt.status is Status.CANCELLED:
        raise Stop(_INTERRUPTED)
    raise Stop(0 if done.attempt.status is Status.OK else 1)


@contextmanager
def _only_ours_on_stdout() -> Iterator[None]:
    """What the task prints, and what its programs do, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
