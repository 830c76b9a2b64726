"""prealloc config: what is done with config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag
from prealloc.cli.output import print_json


@command(good="it can be planned")
def check(
    file: Annotated[Path, typer.Argument(help="A TOML file of options.", metavar="FILE")],
    json: JsonFlag = False,
) -> None:
    """Check a config file, and say what it would plan.

    The task library is not read. All mistakes are shown at once.

    Examples:

      prealloc config check config/ultra.toml
      prealloc config check config/ultra.toml --json | jq .matrix.shards
    """
    from prealloc.api.estimates import outlook
    from prealloc.model.plan_spec import PlanSpec
    from prealloc.settings import load_config

    experiment = load_config(file)
    spec = PlanSpec.checked(**experiment.sampling)
    found = outlook(spec, experiment.run, experiment.estimate)
    if json:
        told = {"config": str(file), "ok": True, "spec": spec}
        print_json({**told, "matrix": found.matrix, "estimate": found.estimate})
        return
    from prealloc.report.matrix_view import render_outlook

    typer.echo(f"{file}: it can be planned")
    render_outlook(found).print()


@command()
def schema(json: JsonFlag = False) -> None:
    """Print the JSON Schema of config files, for editors. It is JSON with and without --json.

    Example:

      prealloc config schema > prealloc.schema.json
    """
    import msgspec

    from prealloc.settings import config_schema

    typer.echo(msgspec.json.format(msgspec.json.encode(config_schema()), indent=2).decode())
