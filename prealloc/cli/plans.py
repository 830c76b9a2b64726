"""prealloc plan, show, verify, diff."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prealloc.cli.command import command
from prealloc.cli.options import ConfigOption, JsonFlag, parsed, read_config, takes, without_empty
from prealloc.cli.output import Stop, byte_progress, print_json, print_note, print_warning, task_progress
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import Mistake, OptionsError
from prealloc.model.fields import Fields
from prealloc.model.options import options_of
from prealloc.model.plan_spec import LibraryOptions, PlanSpec
from prealloc.model.policy import RunPolicy

if TYPE_CHECKING:
    from prealloc.api.plans import BareTasks
    from prealloc.model.plan import Plan
    from prealloc.planning.estimate import Durations, Estimate
    from prealloc.planning.matrix import Matrix


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the app."""
    for each in (plan, show, verify):
        command(app)(each)
    command(app, good="they are the same plan", bad="they differ")(diff)


_LIBRARY = "Library"
_OF_LIBRARY = options_of(LibraryOptions).keys() - {"path", "difficulty", "require_workflow"}
_GENERATED = "Workflows that are missing"


@takes(LibraryOptions, PlanSpec, but=["path", "difficulty", "require_workflow"])
def plan(
    library: Annotated[
        Path | None,
        typer.Argument(
            help="The task library: a file, a folder, a path with {difficulty}, or - for standard input.",
            metavar="LIBRARY",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The plan folder to write; without it, only show.", metavar="PLAN"),
    ] = None,
    config: ConfigOption = None,
    difficulty: Annotated[
        str | None,
        typer.Option(
            "--difficulty",
            help="Which library of a folder: *_D_with_workflows.json first.",
            metavar="D",
            rich_help_panel=_LIBRARY,
        ),
    ] = None,
    require_workflow: Annotated[
        bool | None,
        typer.Option(
            "--require-workflow/--no-require-workflow",
            help="Refuse a library in which a task has no workflow.",
            rich_help_panel=_LIBRARY,
        ),
    ] = None,
    durations_from: Annotated[
        Path | None,
        typer.Option(
            "--durations-from", help="Estimate by what this run took: median by model and type.", metavar="RUN"
        ),
    ] = None,
    generate_workflows: Annotated[
        str | None,
        typer.Option(
            "--generate-workflows",
            help="Makes the workflows that selected tasks lack.",
            metavar="MODULE:FUNCTION",
            rich_help_panel=_GENERATED,
        ),
    ] = None,
    workflow_cache: Annotated[
        Path | None,
        typer.Option(
            "--workflow-cache",
            help="Where generated ones are kept.",
            metavar="FOLDER",
            show_default="~/.cache/prealloc/workflows",
            rich_help_panel=_GENERATED,
        ),
    ] = None,
    generate_timeout: Annotated[
        str | None,
        typer.Option(
            "--generate-timeout",
            help="Time to make one workflow.",
            metavar="DURATION",
            show_default="10m",
            rich_help_panel=_GENERATED,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read a JSON library in one pass and little memory, as large ones are.",
            rich_help_panel=_LIBRARY,
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a plan that is there.")] = False,
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
      zcat tasks.jsonl.gz | prealloc plan - --shards 25 -n 20 --out plan/
      prealloc plan tasks.json --config config/reference.toml --out plan/
      prealloc plan 'data/tasks_{difficulty}.json' --config config/ultra.toml \\
        --durations-from old-run/
      prealloc plan tasks.json --generate-workflows my_generator:make --out plan/
    """
    mistakes: list[Mistake] = []
    here = parsed(given, mistakes)
    generation: dict[str, Any] = {
        "generate_workflows": generate_workflows,
        "workflow_cache": workflow_cache,
    }
    if generate_timeout is not None:
        generation["generate_timeout_s"] = generate_timeout
    source, options, run, effort = read_config(config, "library", "sampling", "run", "estimate")
    named = {name: here.pop(name) for name in _OF_LIBRARY if name in here}
    for one, other in (("id_field", "id_from"), ("id_from", "id_field")):
        if one in named:  # the command line wins
            source.pop(other, None)
    here["settings"] = {**options.get("settings", {}), **here.get("settings", {})}  # more, not in place of all
    options = _overridden(options, without_empty(here))
    source |= without_empty({"path": library, "difficulty": difficulty, "require_workflow": require_workflow}) | named
    if "path" not in source:
        mistakes.append(
            Mistake(
                "LIBRARY",
                "no task library is named",
                "name a file, or set path in [library]. All options: prealloc plan -h",
            )
        )
    if mistakes:
        _raise_all(options, mistakes, generation)
    path = Path(source["path"])
    past = _past(durations_from)  # before anything is written
    if str(path) == "-" and os.isatty(0):
        print_note("the library is read from standard input, which is this terminal; Ctrl-D ends it")
    from prealloc.api import plans as api

    bare: list[BareTasks] = []
    kept = " but generated workflows, which are kept for the next time" if generate_workflows else ""
    with (
        ended_by_signals(out, nothing=f"nothing was written{kept}"),
        byte_progress(f"reading {path.name}", shown=not json) as progress,
        task_progress("generating workflows", shown=not json, instead_of=progress) as generating,
    ):
        made = api.plan(
            path,
            out=out,
            force=force,
            difficulty=source.get("difficulty"),
            require_workflow=source.get("require_workflow", False),
            **{name: source[name] for name in _OF_LIBRARY if name in source},
            notes=print_note,
            progress=progress,
            generating=generating,
            stream=stream,
            bare=bare.append,
            run_options={name: each for name, each in run.items() if name in options_of(RunPolicy)},  # type: ignore[arg-type]
            **generation,
            **options,
        )
    if made.spec.factors or made.spec.lanes or effort or past is not None:
        matrix, forecast = _matrix(made, run, effort, past)
    else:
        matrix, forecast = None, None
    if json:
        from prealloc.planning.planner import types_left_out

        lacking = bare[0] if bare else None
        left_out = [kind._asdict() for kind in types_left_out(made.file)]
        told = {"out": str(out) if out else None, "plan": made.file, "types_left_out": left_out}
        print_json({**told, "matrix": matrix, "estimate": forecast, "bare": lacking})
        if lacking is not None:
            print_warning(f"{lacking}")
        return
    from rich.console import Console

    from prealloc.report.plan_view import render_plan

    render_plan(made).print(Console())
    if matrix is not None:
        from prealloc.report.matrix_view import render_matrix

        typer.echo()
        render_matrix(matrix, forecast).print(Console())
    if out is None:
        print_note("nothing was written; --out PLAN writes the plan")
    elif bare:
        print_note(f"written to {out}")
    else:
        print_note(f"written to {out}; run it: {_run_command(out, run)}")
    for found in bare:
        print_warning(f"{found}\n{_again(found, out, force=force)}")


PlanOrRun = Annotated[Path, typer.Argument(help="A plan folder, or a run folder.", metavar="PLAN|RUN")]


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
    """Show a plan, one shard with its tasks, or what became of a unit.

    Of a unit: its settings, every attempt with its times, the error with its traceback, the result.

    Examples:

      prealloc show plan/
      prealloc show run/ shard-03
      prealloc show plan/ shard-03 --json | jq .tasks
      prealloc show run/ 'shard-03/math-0030#0'
    """
    if part is not None and "/" in part:
        _show_unit(plan, part, json=json)
        return
    from rich.console import Console

    from prealloc.files.paths import PlanPaths
    from prealloc.model.plan import Plan
    from prealloc.report.plan_view import FIRST_SHARDS, render_plan, render_shard
    from prealloc.store.plan_folder import (
        find_entry,
        plan_of,
        read_plan,
        read_plan_file,
        read_planned_manifest,
        read_slice,
    )

    folder = plan_of(plan)
    if part is None:
        file = read_plan_file(folder)
        # Of many shards only the first are shown, and only they are read.
        paths, is_long = PlanPaths(folder), len(file.shards) > FIRST_SHARDS + 1
        read = file if is_long else read_plan(folder)
        if json:
            print_json(file)
            return
        first = [read_planned_manifest(paths, file, entry) for entry in file.shards[:FIRST_SHARDS] if is_long]
        render_plan(read, first).print(Console())
        if folder != plan:
            _show_bound(plan)
        if file.spec.factors or file.spec.lanes:
            from prealloc.planning.matrix import matrix_of_plan, matrix_of_spec
            from prealloc.report.matrix_view import render_matrix

            typer.echo()
            matrix = matrix_of_plan(read) if isinstance(read, Plan) else matrix_of_spec(file.spec)
            render_matrix(matrix).print(Console())
        return
    file = read_plan_file(folder)
    manifest = read_planned_manifest(PlanPaths(folder), file, find_entry(file, part, where=str(plan)))
    tasks = read_slice(PlanPaths(folder), manifest)
    if json:
        rows = [{"id": task.id, "type": task.type, "workflow_bytes": len(task.workflow_json)} for task in tasks]
        print_json({"manifest": manifest, "tasks": rows})
    else:
        render_shard(manifest, tasks).print(Console())


def _show_bound(run: Path) -> None:
    from prealloc.api.runs import longest_s
    from prealloc.report import human

    bound_s = longest_s(run)
    bounded = f"a session ends within {human.duration(bound_s)}, at the very latest"
    typer.echo(f"\nrun       {bounded if bound_s is not None else 'nothing bounds its time'}")


def _show_unit(run: Path, unit: str, *, json: bool) -> None:
    from prealloc.api.runs import unit_history

    found = unit_history(run, unit)
    if json:
        print_json(found)
        return
    from rich.console import Console

    from prealloc.report.unit_view import render_unit

    render_unit(found).print(Console())


@takes(Fields)
def verify(
    plan: PlanOrRun,
    library: Annotated[
        Path | None,
        typer.Option("--library", help="Also compare every task with this library.", metavar="LIBRARY"),
    ] = None,
    difficulty: Annotated[
        str | None, typer.Option("--difficulty", help="Which library of a folder.", metavar="D")
    ] = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Check a plan: digests, schema, counts; with --library every task.

    Examples:

      prealloc verify plan/
      prealloc verify run/
      prealloc verify plan/ --library tasks.json
    """
    from prealloc.api import plans as api

    file = api.verify(plan, library=library, difficulty=difficulty, **given)
    units = sum(entry.units for entry in file.shards)
    if json:
        print_json({"plan": str(plan), "id": file.id, "shards": len(file.shards), "units": units, "ok": True})
    else:
        against = f", every task as in {library}" if library else ""
        typer.echo(f"{plan}: whole, plan {file.id[:12]}, {len(file.shards)} shards, {units} units{against}")


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
        from rich.console import Console

        from prealloc.report.diff_view import render_diff

        changes = (found.added, found.removed, found.moved, found.changed)
        render_diff(str(first), str(second), found.same, found.inputs, *changes).print(Console())
    if not found.same:
        raise Stop(1)


def _again(bare: BareTasks, out: Path | None, *, force: bool) -> str:
    """The same command line, with what it takes to ship the fields that were left out; nothing if there are none."""
    if not bare.fields:
        return ""
    more = ["--keep", bare.keep, *(["--force"] if out is not None and not force else [])]
    return shlex.join(["prealloc", *sys.argv[1:], *more])


def _run_command(plan: Path, run: Mapping[str, Any]) -> str:
    """What runs the plan, with the worker that the config names: a plan does not keep what names code."""
    named = {"worker": run.get("worker", "module:function"), "engine": run.get("engine"), "cleanup": run.get("cleanup")}
    options = [word for name, each in named.items() if each is not None for word in (f"--{name}", each)]
    return shlex.join(["prealloc", "run", str(plan), *options, "--out", "run/"])


_CONTRADICTS = {
    "num_instances": ("quotas", "whole", "num_instances_per_cell"),
    "per_type": ("quotas", "whole", "stratify", "num_instances_per_cell"),
    "quotas": ("num_instances", "num_instances_per_cell", "per_type", "whole", "stratify", "types"),
    "num_instances_per_cell": ("num_instances", "per_type", "quotas", "whole"),
    "whole": ("num_instances", "per_type", "quotas", "num_instances_per_cell"),
    "stratify": ("per_type", "quotas"),
}
"""Options that cannot stand beside the one that is named: each says how many tasks there are."""


def _overridden(configured: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The options with those of the command line on top: what contradicts these in the config is left out."""
    dropped = {name for option, others in _CONTRADICTS.items() if given.get(option) for name in others}
    return {name: value for name, value in configured.items() if name not in dropped} | given


def _past(run: Path | None) -> Durations | None:
    if run is None:
        return None
    from prealloc.api.estimates import past_durations

    return past_durations(run)


def _matrix(
    made: Plan, run: Mapping[str, Any], effort: Mapping[str, Any], past: Durations | None
) -> tuple[Matrix, Estimate]:
    """The cells of a plan, and how long it takes if it is run as [run] says."""
    from prealloc.api.estimates import estimate_plan
    from prealloc.planning.estimate import NO_PAST, Effort
    from prealloc.planning.matrix import matrix_of_plan

    told = {name: run[name] for name in ("concurrency", "workers") if name in run}
    forecast = estimate_plan(made, Effort.checked(**effort), durations=past if past is not None else NO_PAST, **told)
    return matrix_of_plan(made), forecast


def _raise_all(options: dict[str, Any], mistakes: list[Mistake], generation: dict[str, Any]) -> None:
    """Raises the mistakes of the command line together with those of the values."""
    from prealloc.api.plans import check_options

    try:
        check_options(options, **generation)
    except OptionsError as error:
        mistakes += error.mistakes
    raise OptionsError(mistakes)
