"""prealloc memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from prealloc.cli.command import command
from prealloc.cli.options import DifficultyOption, JsonFlag, LibraryArgument, split_names, takes
from prealloc.cli.output import Stop, print_json, print_note
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import InputError, Mistake
from prealloc.model.fields import Fields

if TYPE_CHECKING:
    from prealloc.memory.watch import Reached


@command(bad="a way failed")
@takes(Fields)
def memory(
    library: LibraryArgument,
    workers: Annotated[int, typer.Option("--workers", help="Worker processes of each way.", metavar="N")] = 25,
    num_instances: Annotated[int, typer.Option("--num-instances", "-n", help="Tasks per worker.", metavar="N")] = 20,
    seconds: Annotated[
        str,
        typer.Option("--seconds", help="How long to measure each way while its workers read.", metavar="DURATION"),
    ] = "3s",
    ways: Annotated[
        list[str] | None,
        typer.Option(
            "--ways",
            help="Only these: whole, fork, fork-gc, pool, pool-fork, prealloc. Repeatable, or a,b.",
            metavar="WAYS",
            show_default="all",
        ),
    ] = None,
    difficulty: DifficultyOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another sample.", metavar="N")] = 0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json-file", help="Also write all figures to this file, with every sample.", metavar="FILE"),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Also write table and bars to this file, as a picture.", metavar="FILE")
    ] = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure the memory of workers, with and without prealloc.

    Really starts the workers of each way, one way after the other: every worker loads the library (whole); one process
    loads it and forks them (fork; fork-gc: each does one garbage collection); all read a shared file (pool; pool-fork:
    forked); prealloc. Nothing of them is left, however it ends.

    A way that does not fit into the free memory is scaled from fewer workers, or left out.

    Examples:

      prealloc memory tasks.json
      prealloc memory tasks.json --workers 8 -n 50 --ways whole,prealloc
      prealloc memory data/ --difficulty easy --json-file memory.json
    """
    mistakes = [*_unwritable("--json-file", json_file, library), *_unwritable("--svg", svg, library)]
    from prealloc.api.memory import compare_memory

    if ways is not None:
        given = {**given, "ways": split_names(ways)}
    with ended_by_signals(json_file, svg), _progress(shown=not json) as tell:
        found = compare_memory(
            library,
            workers=workers,
            num_instances=num_instances,
            seconds=seconds,
            difficulty=difficulty,
            seed=seed,
            notes=print_note,
            tell=tell,
            mistakes=mistakes,
            **given,
        )
        if json_file is not None:
            _write(json_file, msgspec.json.format(msgspec.json.encode(found), indent=2))
        if svg is not None:
            from prealloc.report.memory_view import memory_svg

            _write(svg, memory_svg(found).encode())
    if json:
        print_json(found)
    else:
        from prealloc.report.memory_view import render_memory

        render_memory(found).print()
    if found.exit_code:
        raise Stop(found.exit_code)


def _unwritable(option: str, path: Path | None, library: Path) -> list[Mistake]:
    """What can be told before the measuring, which takes a while."""
    if path is None:
        return []
    if path.is_dir():
        return [Mistake(f"{option} {path}", "it is a folder", "name a file")]
    if not path.parent.is_dir():
        return [Mistake(f"{option} {path}", "its folder does not exist", "make the folder first, or name another")]
    if path.exists() and library.exists() and path.samefile(library):
        return [Mistake(f"{option} {path}", "it is the library, which would be replaced", "name another file")]
    if path.exists() and not _is_ours(path):
        return [Mistake(f"{option} {path}", "it exists and holds something else", "name another file")]
    return []


def _is_ours(path: Path) -> bool:
    """Whether a file holds what an earlier `prealloc memory` wrote there, or nothing."""
    from prealloc.library.disk import head_of

    head = head_of(path, 4096)
    return path.is_file() and (not head or head.startswith(b'{\n  "library":') or b"prealloc-memory" in head)


def _write(path: Path, content: bytes) -> None:
    from prealloc.files.atomic import write_file, writing

    with writing(path, InputError, otherwise="name another file"):
        write_file(path, content)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str, Reached | None], None] | None]:
    """A line on stderr that says what is being done, on a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.markup import escape

    from prealloc.report.memory_view import reached_line

    with Console(stderr=True).status("reading the library", spinner="line") as status:
        yield lambda title, reached: status.update(escape(reached_line(title, reached)))
