"""prealloc plan, show, verify, diff."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prealloc.cli.bar import byte_progress, task_progress
from prealloc.cli.command import command
from prealloc.cli.options import (
    ConfigOption,
    DifficultyOption,
    JsonFlag,
    parsed,
    read_config,
    taken,
    takes,
    without_empty,
)
from prealloc.cli.output import Stop, command_again, print_json, print_note, print_warning
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import Mistake
from prealloc.files.paths import plan_of
from prealloc.model.amount import contradicted
from prealloc.model.fields import Fields
from prealloc.model.options import options_of
from prealloc.model.plan_spec import GenerateOptions, LibraryOptions, PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.model.words import quoted

if TYPE_CHECKING:
    from prealloc.api.planned_tasks import BareTasks
    from prealloc.model.plan import Plan
    from prealloc.planning.history import History
    from prealloc.planning.matrix import Outlook
    from prealloc.report.page import Page
    from prealloc.store.manifests import Outline


@command()
@takes(LibraryOptions, PlanSpec, GenerateOptions, but=("path",))
def plan(
    library: Annotated[
        Path | None,
        typer.Argument(
            help=(
                "The task library: a file, a folder, a pattern of files in quotes, a path with {difficulty}, or - for"
                " standard input."
            ),
            metavar="LIBRARY",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The plan folder to write; without it, the plan is only shown.", metavar="PLAN"),
    ] = None,
    config: ConfigOption = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            "--history",
            help="Predict time, tokens and cost from the units of this run: means by model and type. Repeatable.",
            metavar="RUN",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read the library's text in one pass, even if it has an index.",
            rich_help_panel="Library",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing plan.")] = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Read a task library once and give every shard its tasks.

    The same ids and types, options and seed always give the same plan.

    Examples:

      prealloc plan tasks.json --shards 25 -n 20 --stratify --out plan/
      prealloc plan data/ --difficulty easy --shards 4 --quota simple_task=5 \\
        --quota basic_task=3 --out plan/
      prealloc plan tasks.jsonl.zst --all --shards 64 --set model=o3 --out plan/
      prealloc plan 'parts/*.jsonl' --shards 25 -n 20 --out plan/
      zcat tasks.jsonl.gz | prealloc plan - --shards 25 -n 20 --out plan/
      prealloc plan tasks.json --config config/reference.toml --out plan/
      prealloc plan 'data/tasks_{difficulty}.json' --config config/ultra.toml \\
        --history old-run/
      prealloc plan tasks.json --generate-workflows my_generator:make --out plan/
    """
    mistakes: list[Mistake] = []
    here = parsed(given, mistakes)
    source, options, run, effort, prices = read_config(config, "library", "sampling", "run", "estimate", "prices")
    named = taken(here, LibraryOptions)
    for one, other in (("id_field", "id_from"), ("id_from", "id_field")):
        if one in named:  # the command line wins
            source.pop(other, None)
    source |= named | without_empty({"path": library})
    generation = taken(here, GenerateOptions)
    here["settings"] = {**options.get("settings", {}), **here.get("settings", {})}  # more, not in place of all
    options = _overridden(options, without_empty(here))
    if "path" not in source:
        hint = "name a file, or set path in [library]. All options: prealloc plan -h"
        mistakes.append(Mistake("LIBRARY", "no task library is named", hint))
    path = Path(source.pop("path", ""))
    past = None
    if history and not mistakes:  # before anything is written
        from prealloc.api.estimates import past_units

        past = past_units(*history, prices=prices or None)
    if str(path) == "-" and os.isatty(0):
        print_note("the library is read from standard input, which is this terminal; Ctrl-D ends it")
    from prealloc.api import plans as api

    bare: list[BareTasks] = []
    kept = " but generated workflows, which are kept for next time" if generation else ""
    with (
        ended_by_signals(out, nothing=f"nothing was written{kept}"),
        byte_progress(f"reading {path.name}", shown=not json) as progress,
        task_progress("generating workflows", shown=not json, instead_of=progress) as generating,
    ):
        made = api.plan(
            path,
            out=out,
            force=force,
            notes=print_note,
            progress=progress,
            generating=generating,
            stream=stream,
            bare=bare.append,
            run_options={name: each for name, each in run.items() if name in options_of(RunPolicy)},  # type: ignore[arg-type]
            mistakes=mistakes,
            **source,
            **generation,
            **options,
        )
    outlook = _outlook(made, run, effort, past)
    if json:
        _print_plan(made, outlook, bare, out)
        return
    _show_plan(made, outlook)
    if out is None:
        print_note("nothing was written; --out PLAN writes the plan")
    else:
        print_note(f"written to {out}" + ("" if bare else f"; run it: {_run_command(out, run)}"))
    for found in bare:
        print_warning(f"{found}\n{_again(found, out, force=force)}")


def _print_plan(made: Plan, outlook: Outlook | None, bare: Sequence[BareTasks], out: Path | None) -> None:
    from prealloc.planning.planner import types_left_out
    from prealloc.planning.precision import precision_of_plan

    print_json(
        {
            "out": str(out) if out else None,
            "plan": made.file,
            "types_left_out": [kind._asdict() for kind in types_left_out(made.file)],
            **{name: getattr(outlook, name, None) for name in ("matrix", "estimate", "least_s", "most_s", "forecast")},
            "precision": precision_of_plan(made),
            "bare": bare[0] if bare else None,
        }
    )
    for found in bare:
        print_warning(f"{found}")


def _show_plan(made: Plan | Outline, outlook: Outlook | None, beside: Page | None = None) -> None:
    from prealloc.report.plan_view import render_plan

    render_plan(made).print()
    if beside is not None:
        typer.echo()
        beside.print()
    if outlook is not None:
        from prealloc.report.matrix_view import render_outlook

        typer.echo()
        render_outlook(outlook).print()


PlanOrRun = Annotated[Path, typer.Argument(help="A plan folder, a run folder, or an experiment.", metavar="PLAN|RUN")]


@command()
def show(
    plan: PlanOrRun,
    part: Annotated[
        str | None,
        typer.Argument(
            help="One of its shards, or of a run one of its units, as prealloc writes it: shard/task#repeat.",
            metavar="SHARD|UNIT",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show a plan, a shard with its tasks, or a unit of a run.

    Of a unit: its settings, every attempt with its times, the error with its traceback, the result.

    Examples:

      prealloc show plan/
      prealloc show run/ shard-03
      prealloc show plan/ shard-03 --json | jq .tasks
      prealloc show run/ 'shard-03/math-0030#0'
    """
    if part is None:
        _show_whole(plan, json=json)
    elif "/" in part:
        _show_unit(plan, part, json=json)
    else:
        _show_shard(plan, part, json=json)


def _show_whole(plan: Path, *, json: bool) -> None:
    from prealloc.api.plans import outline_of_plan
    from prealloc.report.plan_view import FIRST_SHARDS

    read = outline_of_plan(plan, FIRST_SHARDS)
    run = None
    if plan_of(plan) != plan:
        from prealloc.store.run_folder import OpenRun

        run = OpenRun(plan_of(plan).parent)
    if json:
        from msgspec import to_builtins

        print_json({**to_builtins(read.file), **({"run": run.file} if run is not None else {})})
        return
    from prealloc.model.plan import Plan
    from prealloc.planning.matrix import Outlook, matrix_of_plan, matrix_of_spec

    spec, outlook = read.file.spec, None
    if spec.factors or spec.lanes:
        outlook = Outlook(matrix=matrix_of_plan(read) if isinstance(read, Plan) else matrix_of_spec(spec))
    beside = None
    if run is not None:
        from prealloc.api.runs import longest_s
        from prealloc.report.plan_view import render_run

        beside = render_run(run.file, longest_s(run.paths.root))
    _show_plan(read, outlook, beside)


def _show_shard(plan: Path, shard: str, *, json: bool) -> None:
    from prealloc.api.plans import read_shard

    found = read_shard(plan, shard)
    if json:
        rows = [{"id": task.id, "type": task.type, "workflow_bytes": len(task.workflow_json)} for task in found.tasks]
        print_json({"manifest": found.manifest, "tasks": rows})
        return
    from prealloc.report.plan_view import render_shard

    render_shard(found).print()


def _show_unit(run: Path, unit: str, *, json: bool) -> None:
    from prealloc.api.outcomes import unit_history

    found = unit_history(run, unit)
    if json:
        print_json(found)
        return
    from prealloc.report.unit_view import render_unit

    render_unit(found).print()


@command(good="all is as it was written", bad="the journal of a run was edited")
@takes(Fields)
def verify(
    plan: PlanOrRun,
    library: Annotated[
        Path | None,
        typer.Option("--library", help="Also compare every task with this library.", metavar="LIBRARY"),
    ] = None,
    difficulty: DifficultyOption = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Check every byte of a plan; with --library, its tasks too.

    It compares digests, schema and counts; of a run also the journal with its seals: an edited file is named.

    Examples:

      prealloc verify plan/
      prealloc verify run/
      prealloc verify plan/ --library tasks.json
    """
    from prealloc.api import plans as api

    file = api.verify(plan, library=library, difficulty=difficulty, **given)
    units = sum(entry.units for entry in file.shards)
    seals = []
    if plan_of(plan) != plan:
        from prealloc.api.seals import check_seals

        seals = check_seals(plan)
    edited = any(each.edited for each in seals)
    if json:
        counts = {"shards": len(file.shards), "units": units}
        print_json({"plan": str(plan), "id": file.id, **counts, "ok": not edited, "seals": seals})
    else:
        against = f", every task as in {library}" if library else ""
        from prealloc.report import human

        typer.echo(
            f"{plan}: whole, plan {file.id[:12]}, {human.count(len(file.shards), 'shard')}, "
            f"{human.count(units, 'unit')}{against}"
        )
    if seals and not json:
        from prealloc.report.seals_view import render_seals

        render_seals(seals).print()
    if edited:
        raise Stop(1)


@command(good="they are the same plan", bad="they differ")
def diff(
    first: Annotated[Path, typer.Argument(help="A plan folder.", metavar="PLAN_A")],
    second: Annotated[Path, typer.Argument(help="Another plan folder.", metavar="PLAN_B")],
    json: JsonFlag = False,
) -> None:
    """Show what differs between two plans.

    Which input changed, and which ids came, went and moved.

    Example:

      prealloc diff planA/ planB/
    """
    from prealloc.api import plans as api

    found = api.diff(first, second)
    if json:
        print_json(found)
    else:
        from prealloc.report.diff_view import render_diff

        render_diff(found).print()
    if not found.same:
        raise Stop(1)


def _again(bare: BareTasks, out: Path | None, *, force: bool) -> str:
    """The same command line, with what it takes to ship the fields that were left out; nothing if there are none."""
    if not bare.fields:
        return ""
    more = ["--keep", bare.keep, *(["--force"] if out is not None and not force else [])]
    return command_again(more)


def _run_command(plan: Path, run: Mapping[str, Any]) -> str:
    """What runs the plan, with the worker that the config names: a plan does not keep what names code."""
    named = {"worker": run.get("worker", "module:function"), "engine": run.get("engine"), "cleanup": run.get("cleanup")}
    options = [word for name, each in named.items() if each is not None for word in (f"--{name}", each)]
    return f"prealloc run {quoted(plan)} {shlex.join([*options, '--out', 'run/'])}"


def _overridden(configured: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The options with those of the command line on top: what contradicts these in the config is left out."""
    dropped = contradicted({name for name, value in given.items() if value})
    return {name: value for name, value in configured.items() if name not in dropped} | given


def _outlook(made: Plan, run: Mapping[str, Any], effort: Mapping[str, Any], past: History | None) -> Outlook | None:
    """The cells of a plan, and how long it takes if it is run as [run] says; None without factors, lanes and times."""
    if not (made.spec.factors or made.spec.lanes or effort or past is not None):
        return None
    from prealloc.api.estimates import outlook
    from prealloc.planning.history import NO_PAST

    return outlook(made, run, effort, past if past is not None else NO_PAST)
