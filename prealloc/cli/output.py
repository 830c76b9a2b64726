"""What commands share in speaking: the console, JSON on stdout, errors on stderr, progress on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import OptionsError, PreallocError

PROGRESS_AFTER_S = 0.5


class Stop(Exception):
    """Ends the command with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def print_json(value: Any) -> None:
    """One JSON line on stdout. Paths are text."""
    sys.stdout.write(msgspec.json.encode(value, enc_hook=_path_text).decode() + "\n")
    sys.stdout.flush()


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_note(text: str) -> None:
    """A sentence for the user, beside the output: on stderr."""
    from prealloc.report.visible import visible

    sys.stderr.write(f"note: {visible(text)}\n")


def print_error(error: PreallocError, *, json: bool) -> None:
    """An error on stderr; with `json` also as an object on stdout."""
    from rich.console import Console

    from prealloc.report.problem import render_error

    if json:
        print_json({"event": "error", **describe(error)})
    render_error(error).print(Console(stderr=True))


def describe(error: PreallocError) -> dict[str, Any]:
    """An error as plain values."""
    mistakes = [mistake._asdict() for mistake in error.mistakes] if isinstance(error, OptionsError) else []
    return {
        "type": type(error).__name__,
        "problem": error.problem,
        "where": error.where,
        "mend": error.mend,
        "mistakes": mistakes,
        "exit_code": error.exit_code,
    }


@contextmanager
def byte_progress(label: str, *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Gives a callback (bytes done, bytes in all) that draws a bar on stderr, once it has taken a while.

    On no terminal nothing is drawn, and rich is not even loaded for work that is quick.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    began = time.monotonic()
    bar: Any = None

    def tell(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - began > PROGRESS_AFTER_S:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn(label), BarColumn(), DownloadColumn(), TimeRemainingColumn()
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            bar.add_task(label, total=total)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.stop()
