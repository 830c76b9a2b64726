"""prealloc library: what is done with task libraries themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prealloc.cli.bar import PROGRESS_AFTER_S, byte_progress, task_progress
from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, LibraryArgument, takes
from prealloc.cli.output import print_json, print_note
from prealloc.cli.signals import ended_by_signals
from prealloc.files.paths import index_places, readable_name
from prealloc.model.fields import Fields


@command()
def sample(
    out: Annotated[
        Path,
        typer.Argument(help="The file to write: .json or .jsonl, compressed with .gz or .zst added.", metavar="FILE"),
    ],
    tasks: Annotated[int, typer.Option("--tasks", help="Number of tasks.", metavar="N")] = 630,
    workflow_bytes: Annotated[
        int,
        typer.Option("--workflow-bytes", help="Mean size of a workflow in the file.", metavar="N"),
    ] = 84_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed writes the same bytes.", metavar="N")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a sample task library: five task types, nested workflows.

    Examples:

      prealloc library sample tasks.json
      prealloc library sample big.jsonl.zst --tasks 100000 --workflow-bytes 2000
    """
    from prealloc.sample_library.write import write_sample

    with (
        ended_by_signals(out),
        task_progress(f"writing {out.name}", shown=not json, after_s=PROGRESS_AFTER_S) as progress,
    ):
        made = write_sample(out, tasks=tasks, workflow_bytes=workflow_bytes, seed=seed, force=force, progress=progress)
    if json:
        print_json(made)
    else:
        from prealloc.report import human

        types = ", ".join(f"{name} {count}" for name, count in made.types.items())
        typer.echo(f"{readable_name(str(out))}: {human.count(made.tasks, 'task')}, {human.size(made.bytes)} ({types})")


Difficulty = Annotated[
    str | None,
    typer.Option("--difficulty", help="Which library of a folder: *_D_with_workflows.json first.", metavar="D"),
]


@command()
@takes(Fields)
def stats(
    library: LibraryArgument,
    difficulty: Difficulty = None,
    reads: Annotated[
        int, typer.Option("--reads", help="Also read this many random tasks, one by one.", metavar="N")
    ] = 0,
    cache: Annotated[
        str | None,
        typer.Option("--cache", help="Size of the task cache for --reads.", metavar="BYTES", show_default="64MiB"),
    ] = None,
    sampled: Annotated[
        int, typer.Option("--sampled", help="Tasks of each type to look at for their fields.", metavar="N")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Another seed reads other tasks.", metavar="N")] = 0,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Show what a library holds, and how fast single tasks are read.

    Half of the --reads go to a tenth of the tasks, as from users who come back to some of them: the hit rate is
    that of a cache of the given size.

    Examples:

      prealloc library stats tasks.json
      prealloc library stats tasks.db --reads 1000 --cache 8MB
    """
    from prealloc.api import libraries as api

    with byte_progress(f"reading {library.name}", shown=not json) as progress:
        found = api.stats(
            library,
            difficulty=difficulty,
            reads=reads,
            cache_bytes=cache,
            sampled=sampled,
            seed=seed,
            notes=print_note,
            progress=progress,
            **given,
        )
    if json:
        print_json(found)
        return
    from prealloc.report.library_view import render_stats

    render_stats(found).print()


@command()
@takes(Fields)
def index(
    library: LibraryArgument,
    difficulty: Difficulty = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the existing index with every byte of the library.")
    ] = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Index a JSON library, so that plans read only what they select.

    The index is a small file beside the library (or in the cache folder, if that cannot be written). It is used as
    long as the library stays as it is, and every task is checked when it is read.

    Examples:

      prealloc library index tasks.json
      prealloc library index tasks.json --check
    """
    from prealloc.api import libraries as api
    from prealloc.report import human

    places = () if check else index_places(api.json_path(library, difficulty, **given))
    with ended_by_signals(*places), byte_progress(f"reading {library.name}", shown=not json) as progress:
        if check:
            sha256 = api.check_index(library, difficulty=difficulty, progress=progress)
            print_json({"fits": True, "sha256": sha256}) if json else typer.echo(f"the index fits\nsha256 {sha256}")
            return
        made = api.index(library, difficulty=difficulty, progress=progress, **given)
    if json:
        print_json(made)
    else:
        typer.echo(f"{readable_name(made.path)}: {human.size(made.bytes)} for {human.count(made.info.tasks, 'task')}")


@command()
@takes(Fields)
def convert(
    library: LibraryArgument,
    out: Annotated[
        Path,
        typer.Argument(
            help="The target: .json, .jsonl (and .gz, .zst, .bz2, .xz), .db, .parts, .parquet or .pool.",
            metavar="OUT",
        ),
    ],
    difficulty: Difficulty = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="The format, if the name does not say.",
            metavar="[json|jsonl|database|parts|parquet|pool]",
            show_default="by name",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing one.")] = False,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Write the same tasks in another format: plans stay the same.

    Written whole or not at all: what is at OUT stays until the new one is complete.

    Examples:

      prealloc library convert tasks.json tasks.db
      prealloc library convert tasks.jsonl.zst tasks.parts
      prealloc library convert tasks.parquet tasks.json --force
    """
    from prealloc.api import libraries as api
    from prealloc.report import human

    label = f"converting {library.name}"
    # Other formats are read task by task: for them bytes do not show the progress.
    if api.is_text(library, difficulty=difficulty, **given):
        bar = byte_progress(label, shown=not json)
    else:
        bar = task_progress(label, shown=not json, after_s=PROGRESS_AFTER_S)
    with ended_by_signals(out), bar as progress:
        made = api.convert(
            library,
            out,
            to=to,
            force=force,
            difficulty=difficulty,
            notes=print_note,
            progress=progress,
            **given,
        )
    if json:
        print_json(made)
    else:
        typer.echo(
            f"{readable_name(made.path)}: {human.count(made.tasks, 'task')}, {human.size(made.bytes)} ({made.format})"
        )
