"""prealloc run, resume, status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.experiment import plan_config
from prealloc.cli.options import (
    ConfigOption,
    HistoryOption,
    JsonFlag,
    PricesOption,
    QuietFlag,
    parsed,
    read_config,
    read_prices_of,
    takes,
)
from prealloc.cli.output import Stop, print_json
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import CannotGoOn, Mistake, OptionsError
from prealloc.files.paths import ExperimentPaths, RunPaths
from prealloc.model.events import Event, Observer, RunEnded, RunStarted, Watching
from prealloc.model.options import options_of
from prealloc.model.part import Part
from prealloc.model.policy import WHAT_RUNS, EngineOptions, RunPolicy, WorkerOptions
from prealloc.model.words import quoted

if TYPE_CHECKING:
    from prealloc.model.plan import Plan


_OF_THE_START = ("worker", "cleanup", "worker_name", "neutral", "same_task")
"""Options that a resume cannot change."""


@command(good="every unit is ok", bad="some are not")
@takes(WorkerOptions, Part, RunPolicy, EngineOptions)
def run(
    plan: Annotated[
        Path | None, typer.Argument(help="A plan folder. With --experiment, a --config will do.", metavar="PLAN")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder to create.", metavar="RUN")] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            "--experiment",
            help="Instead of --out: a folder of runs; only what is missing in it runs.",
            metavar="EXP",
        ),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(
            "--command",
            help="Instead of --worker: a program, started once per shard with its {manifest}.",
            metavar="COMMAND",
            rich_help_panel=WHAT_RUNS,
        ),
    ] = None,
    config: ConfigOption = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            "--reuse", help="Take over the outcomes of a run for units that are the same. Repeatable.", metavar="RUN"
        ),
    ] = None,
    history: HistoryOption = None,
    quiet: QuietFlag = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Run every task of a plan to its end, or a part of them.

    No worker ever opens the task library. Ctrl-C once lets running tasks end, twice ends them; `prealloc resume` goes
    on either way.

    Examples:

      prealloc run plan/ --worker my_agent:solve --out run/
      prealloc run plan/ --worker my_agent:solve --out run/ --limit 2
      prealloc run plan/ --worker my_agent:solve --out run/ -c 8 --timeout 10m \\
        --retries 5 --memory 2GB
      prealloc run plan/ --out run/ \\
        --command 'python my_runner.py --manifest {manifest}'
      prealloc run planB/ --worker my_agent:solve --out runB/ --reuse runA/
      prealloc run --config exp.toml --experiment exp/
    """
    from prealloc.settings import from_environment

    mistakes: list[Mistake] = []
    if plan is None and (experiment is None or config is None):
        hint = "A plan folder. For an --experiment, a --config will do. All options: prealloc run -h"
        mistakes.append(Mistake("PLAN", "it is missing", hint))
    configured, prices = read_config(config, "run", "prices")
    options = {**from_environment(), **configured, **parsed(given, mistakes)}
    worker, engine = options.pop("worker", ""), options.pop("engine", "local")
    cleanup, name = options.pop("cleanup", None), options.pop("worker_name", None)
    if program is not None:
        if other := next((f"--{each}" for each in ("worker", "engine") if each in given), None):
            mistakes.append(Mistake(f"--command and {other}", "a command is both worker and engine", "keep one"))
        worker, engine, cleanup = program, "command", given.get("cleanup")
    from prealloc.api import runs as api

    chosen = {"engine": engine, "cleanup": cleanup, "worker_name": name, "mistakes": mistakes, **options}
    target: dict[str, Any] = {"out": out, "experiment": experiment}
    with ended_by_signals(out or experiment):  # until the run itself hears them, and drains
        if plan is None:
            api.check_run(worker, **target, **chosen)
        made: Plan | Path = plan if plan is not None else plan_config(config, experiment, json=json)
        kept = config if experiment is not None else None
        known = {**target, **chosen, "config": kept, "reuse": reuse or None, "history": history or ()}
        try:
            _follow(lambda observe: api.run(made, worker, prices=prices, observe=observe, **known), quiet, json)
        except OptionsError as error:
            if program is None:
                raise
            told = [each._replace(where=each.where.replace("‹worker›", "--command")) for each in error.mistakes]
            raise OptionsError(told) from None


@command(good="every unit is ok", bad="some are not")
@takes(
    *(Part, RunPolicy, WorkerOptions, EngineOptions),
    but=_OF_THE_START,
    kept=(RunPolicy, WorkerOptions, EngineOptions),
)
def resume(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    history: HistoryOption = None,
    prices: PricesOption = None,
    quiet: QuietFlag = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Go on with a run: run what is not done, or a part of it.

    Without options a run goes on with those that it has. An option that is given holds from here on.

    Examples:

      prealloc resume run/
      prealloc resume run/ --failed
      prealloc resume run/ --only model=o3,prompt_type=cot --only model=o4
      prealloc resume run/ --error openai.RateLimitError --timeout 20m
      prealloc resume run/ --engine local
    """
    from prealloc.api import runs as api
    from prealloc.settings import from_environment

    own = {"engine", *options_of(EngineOptions)}  # the run has its own
    machine = {name: value for name, value in from_environment().items() if name not in own}
    options: Any = {**machine, **parsed(given, []), "history": history or (), "prices": read_prices_of(prices)}
    _follow(lambda observe: api.resume(run, observe=observe, **options), quiet, json)


@command(good="every unit is ok", bad="some are not (yet)")
def status(
    run: Annotated[Path, typer.Argument(help="A run folder, or an experiment.", metavar="RUN")],
    watch: Annotated[
        bool, typer.Option("--watch", help="The live table of a run that runs elsewhere, until it ends.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show how far a run is, while it runs and after.

    With --watch the exit code is the run's: 0 if all that it was asked for is ok, else 1. Ctrl-C ends only the
    watching. Of an experiment it watches the runs that are running.

    Examples:

      prealloc status run/
      prealloc status run/ --watch
    """
    if watch:
        from prealloc.cli.watch import watch as follow

        if (code := follow(run, json=json)) is not None and not ExperimentPaths(run).is_there:
            raise Stop(code)
    from prealloc.api import status as api

    found = api.status(run)
    if json:
        print_json(found)
    else:
        from prealloc.report.status_view import render_status

        render_status(found).print()
    if found.census["ok"] != found.units - sum(found.elsewhere.values()):
        raise Stop(1)


def _follow(work: Callable[[Observer], RunEnded], quiet: bool, json: bool) -> None:
    """Does the work under a reporter, and ends with its exit code."""
    from prealloc.report.reporter import reporter

    shown = reporter(json=json, quiet=quiet, errors=sys.stderr)
    summary: list[RunEnded] = []
    run = ""

    def handle(event: Event) -> None:
        nonlocal run
        shown.handle(event)
        if isinstance(event, RunEnded):
            summary.append(event)
        elif isinstance(event, RunStarted):
            run = event.run

    try:
        with shown:
            ended = work(Watching(handle, shown.tick))
    except KeyboardInterrupt:  # the signal that the run has stopped for, passed on
        if not summary:
            raise
        raise Stop(summary[0].exit_code) from None
    except CannotGoOn as error:
        go_on = f"prealloc resume {quoted(run)}"
        if run and "`prealloc resume`" in (error.hint or ""):
            error.hint = str(error.hint).replace("`prealloc resume`", f"`{go_on}`")
        elif "resume" not in (error.hint or "") and RunPaths(Path(run)).run_file.exists():
            error.hint = f"when the cause is gone: {go_on}" if error.hint is None else f"{error.hint}, then {go_on}"
        raise
    raise Stop(ended.exit_code)
