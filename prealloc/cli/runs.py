"""prealloc run, resume, status, results."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.experiment import plan_config
from prealloc.cli.options import (
    ConfigOption,
    HistoryOption,
    JsonFlag,
    OldHistoryOption,
    PricesOption,
    QuietFlag,
    ScoresOption,
    parsed,
    read_config,
    read_prices_of,
    refuse_old_name,
    takes,
)
from prealloc.cli.output import Stop, print_json, print_note
from prealloc.cli.set_options import split_names
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import CannotGoOn, Mistake, OptionsError
from prealloc.files.paths import ExperimentPaths, RunPaths
from prealloc.model.events import Event, Observer, RunEnded, RunStarted, Watching
from prealloc.model.options import Share, options_of
from prealloc.model.outcome import Status
from prealloc.model.part import Part
from prealloc.model.policy import WHAT_RUNS, EngineOptions, RunPolicy, WorkerOptions

if TYPE_CHECKING:
    from prealloc.model.plan import Plan
    from prealloc.store.results import UnitOutcome


_OF_THE_START = ("worker", "cleanup", "worker_name", "neutral", "same_task")
"""Options that a resume cannot change."""


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the app."""
    command(app, good="every unit is ok", bad="some are not")(run)
    command(app, good="every unit is ok", bad="some are not")(resume)
    command(app, good="every unit is ok", bad="some are not (yet)")(status)
    command(app, good="done", bad="success is under --fail-under")(results)


@takes(WorkerOptions, Part, RunPolicy, EngineOptions)
def run(
    plan: Annotated[
        Path | None, typer.Argument(help="A plan folder; with --experiment, the --config says it.", metavar="PLAN")
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
    durations_from: OldHistoryOption = None,
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

    refuse_old_name(durations_from)
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
        _follow(lambda observe: api.run(made, worker, prices=prices, observe=observe, **known), quiet, json)


@takes(
    *(Part, RunPolicy, WorkerOptions, EngineOptions),
    but=_OF_THE_START,
    kept=(RunPolicy, WorkerOptions, EngineOptions),
)
def resume(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    history: HistoryOption = None,
    durations_from: OldHistoryOption = None,
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

    refuse_old_name(durations_from)
    own = {"engine", *options_of(EngineOptions)}  # the run has its own
    machine = {name: value for name, value in from_environment().items() if name not in own}
    options: Any = {**machine, **parsed(given, []), "history": history or (), "prices": read_prices_of(prices)}
    _follow(lambda observe: api.resume(run, observe=observe, **options), quiet, json)


def status(
    run: Annotated[Path, typer.Argument(help="A run folder, or an experiment.", metavar="RUN")],
    watch: Annotated[
        bool, typer.Option("--watch", help="The live table of a run that runs elsewhere, until it ends.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show how far a run is, while it runs and after.

    With --watch the exit code is the run's: 0 if all that it was asked for is ok, else 1. Ctrl-C ends the watching
    alone. Of an experiment, those of its runs are watched that run.

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
        from rich.console import Console

        from prealloc.report.status_view import render_status

        render_status(found).print(Console())
    if found.census["ok"] != found.units - sum(found.elsewhere.values()):
        raise Stop(1)


def results(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or experiments.", metavar="RUN...")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="A row for each type, task, status, setting, field of tasks or results, run. Repeatable, or a,b.",
            metavar="KEYS",
        ),
    ] = None,
    mean: Annotated[
        list[str] | None,
        typer.Option("--mean", help="Mean of these fields of the results. Repeatable, or a,b.", metavar="FIELDS"),
    ] = None,
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
    scores: ScoresOption = None,
    prices: PricesOption = None,
    fail_under: Annotated[
        str | None,
        typer.Option("--fail-under", help="Exit code 1 if success is lower, or not known.", metavar="P%"),
    ] = None,
) -> None:
    """Show a run's outcomes: success rate, mean score, times, tokens and what they cost.

    Every planned unit is in one row, run or not.

    Examples:

      prealloc results run/ --by type
      prealloc results run/ --by model,prompt_type --format csv > table.csv
      prealloc results run/ --units --format csv > units.csv
      prealloc results run/ --units --not-ok
      prealloc results run/ --by error.type --mean turns,usage.total
      prealloc results before/ after/ --by run,model
      prealloc results run/ --by model --prices exp.toml
      prealloc results run/ --fail-under 80%
    """
    from prealloc.api import outcomes as api
    from prealloc.report.results_view import FORMATS

    formats = [each for each in FORMATS if not (units and each in ("table", "md"))]
    mistakes = []
    if not_ok and not units:
        mistakes.append(Mistake("--not-ok", "it says which units are listed", "add --units"))
    mistakes += [
        Mistake(option, "it is of groups, and --units lists each unit", "omit one of them")
        for option, given in (("--by", by), ("--mean", mean))
        if given and units
    ]
    if format is not None and format not in formats:
        mistakes.append(Mistake("--format", f"{format!r} is unknown", f"use one of {', '.join(formats)}"))
    least = Share(ends=True).read("--fail-under", fail_under, mistakes) if fail_under is not None else None
    if mistakes:
        raise OptionsError(mistakes)
    priced = read_prices_of(prices)
    if units:
        every = (each for run in runs for each in api.outcomes(run, scores=scores, prices=priced))
        listed = (each for each in every if not (not_ok and each.status is Status.OK))
        _print_units(listed, "jsonl" if json or format is None else format)
        return
    from rich.console import Console

    from prealloc.report.results_view import print_results

    keys, means = split_names(by or []), split_names(mean or [])
    found = api.tabulated(*runs, by=keys, mean=means, scores=scores, prices=priced)
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


def _follow(work: Callable[[Observer], RunEnded], quiet: bool, json: bool) -> None:
    """Does the work under a reporter, and ends with its exit code."""
    from prealloc.report.choose import reporter

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
        if "resume" not in (error.hint or "") and RunPaths(Path(run)).run_file.exists():
            go_on = f"prealloc resume {shlex.quote(run)}"
            error.hint = f"when the cause is gone: {go_on}" if error.hint is None else f"{error.hint}, then {go_on}"
        raise
    raise Stop(ended.exit_code)
