"""prealloc config: what is done with config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag
from prealloc.cli.output import print_json

app = typer.Typer(help="Check and write config files.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Check and write config files."""


@command(app, good="it can be planned")
def check(
    file: Annotated[Path, typer.Argument(help="A TOML file of options.", metavar="FILE")],
    json: JsonFlag = False,
) -> None:
    """Check a config file, and say what it would plan.

    The task library is not read. All that is wrong is told at once.

    Examples:

      prealloc config check config/ultra.toml
      prealloc config check config/ultra.toml --json | jq .matrix.shards
    """
    from prealloc.model.plan_spec import PlanSpec
    from prealloc.planning.estimate import Effort, estimate
    from prealloc.planning.matrix import loads_of_spec, matrix_of_spec
    from prealloc.settings import load_config

    experiment = load_config(file)
    spec = PlanSpec.checked(**experiment.sampling)
    matrix = matrix_of_spec(spec)
    loads = loads_of_spec(spec)
    forecast = None
    if loads is not None:
        told = {name: experiment.run[name] for name in ("concurrency", "workers") if name in experiment.run}
        forecast = estimate(loads, spec.lanes, Effort.checked(**experiment.estimate), **told)
    if json:
        print_json({"config": str(file), "ok": True, "spec": spec, "matrix": matrix, "estimate": forecast})
        return
    from rich.console import Console

    from prealloc.report.matrix_view import render_matrix

    typer.echo(f"{file}: it can be planned")
    render_matrix(matrix, forecast).print(Console())


@command(app)
def schema() -> None:
    """Print the JSON Schema of config files, for editors.

    Example:

      prealloc config schema > prealloc.schema.json
    """
    import msgspec

    from prealloc.settings import config_schema

    typer.echo(msgspec.json.format(msgspec.json.encode(config_schema()), indent=2).decode())
