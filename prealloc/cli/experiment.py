"""prealloc experiment: a folder of runs that fill the cells of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prealloc.cli.bar import byte_progress
from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, read_config
from prealloc.cli.output import Stop, print_json, print_note
from prealloc.errors import Mistake, OptionsError
from prealloc.files.paths import ExperimentPaths
from prealloc.model.options import options_of
from prealloc.model.policy import RunPolicy

if TYPE_CHECKING:
    from prealloc.model.plan import Plan


def plan_config(config: Path | None, experiment: Path | None, *, json: bool) -> Plan:
    """The plan of all that a config wants, of the ranking that its experiment has."""
    from prealloc.api.plans import plan

    source, options, run = read_config(config, "library", "sampling", "run")
    if "path" not in source:
        raise OptionsError([Mistake(f"{config} [library] path", "no task library is named", "name a file or a folder")])
    if experiment is not None and ExperimentPaths(experiment).is_there:
        from prealloc.store.experiment import OpenExperiment

        options.setdefault("ranking", OpenExperiment(experiment).ranking)
    path = Path(source.pop("path"))
    run_options = {name: each for name, each in run.items() if name in options_of(RunPolicy)}
    with byte_progress(f"reading {path.name}", shown=not json) as progress:
        return plan(path, notes=print_note, progress=progress, run_options=run_options, **source, **options)  # type: ignore[arg-type]


@command(good="every unit is decided", bad="some are not (yet)")
def status(
    experiment: Annotated[Path, typer.Argument(help="An experiment folder.", metavar="EXP")],
    json: JsonFlag = False,
) -> None:
    """Show how far each cell is, and why units are missing.

    Example:

      prealloc experiment status exp/
    """
    from prealloc.api.experiments import experiment_status

    found = experiment_status(experiment)
    if json:
        print_json(found)
    else:
        from prealloc.report.experiment_view import render_experiment

        render_experiment(found).print()
    if found.done != found.wanted:
        raise Stop(1)
