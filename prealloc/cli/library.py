"""prealloc library: what is done with task libraries themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prealloc.cli.options import JsonFlag
from prealloc.cli.output import byte_progress, print_json

app = typer.Typer(help="Work on task libraries themselves.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Work on task libraries themselves."""


@app.command(no_args_is_help=True)
def sample(
    out: Annotated[Path, typer.Argument(help="The file to write: .json or .jsonl, and .gz or .zst behind.")],
    tasks: Annotated[int, typer.Option("--tasks", help="How many tasks.")] = 630,
    workflow_bytes: Annotated[
        int, typer.Option("--workflow-bytes", help="Mean size of a workflow as it stands in the file.")
    ] = 84_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed writes the same bytes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a task library like the real ones: five task types, nested workflows, long texts.

    Examples:

      prealloc library sample tasks.json

      prealloc library sample big.jsonl.zst --tasks 100000 --workflow-bytes 2000 --seed 7
    """
    from prealloc.library.sample import write_sample

    with byte_progress(f"writing {out.name}", shown=not json) as progress:
        made = write_sample(out, tasks=tasks, workflow_bytes=workflow_bytes, seed=seed, force=force, progress=progress)
    if json:
        print_json(made)
    else:
        from prealloc.report import human

        types = ", ".join(f"{name} {count}" for name, count in made.types.items())
        typer.echo(f"{out}: {human.count(made.tasks, 'task')}, {human.size(made.bytes)} ({types})")
