"""prealloc host. The command itself is started without this module: see prealloc.cli.main."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.command import command
from prealloc.cli.output import Stop


@command(good="the run is over", bad="the run refused it")
def host(
    join: Annotated[
        Path | None,
        typer.Option(
            "--join", help="How to join: a file that `prealloc run` has written.", metavar="FILE", show_default="stdin"
        ),
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the process that started this one ends.")
    ] = False,
) -> None:
    """Run shards here for a run elsewhere.

    It ends, with all that it runs, if it hears nothing from the run for the time of its --lease.

    Example:

      prealloc host --join host-1.json
    """
    from prealloc.engines.hosts.start import main

    given = ["--join", str(join)] if join is not None else []
    raise Stop(main([*given, *(["--with-parent"] if with_parent else [])]))
