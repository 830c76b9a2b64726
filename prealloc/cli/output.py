"""What commands share in speaking: the console, JSON on stdout, errors on stderr, progress on a terminal."""

from __future__ import annotations

import copy
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError, PreallocError
from prealloc.files.paths import readable_name

PROGRESS_AFTER_S = 0.5


class Stop(Exception):
    """Ends the command with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def print_json(value: Any) -> None:
    """One JSON line on stdout. Paths are text; what of a text is no character (a byte of a file's name) is escaped."""
    try:
        encoded = msgspec.json.encode(value, enc_hook=_path_text)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_escaped(msgspec.to_builtins(value, enc_hook=_path_text)))
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return readable_name(str(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _escaped(value: Any) -> Any:
    """Plain values with every text in them as JSON can hold it."""
    if isinstance(value, str):
        try:
            return readable_name(value)
        except UnicodeEncodeError:  # it does not come from the name of a file
            return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list | tuple) else value


def print_note(text: str) -> None:
    """A sentence for the user, beside the output: on stderr."""
    from prealloc.cli.options import in_flags
    from prealloc.report.visible import visible

    sys.stderr.write(f"note: {visible(in_flags(text))}\n")


def print_warning(text: str) -> None:
    """A note that nobody may miss. A line of its own under it is a command to paste."""
    from rich.console import Console
    from rich.text import Text

    from prealloc.cli.options import in_flags
    from prealloc.report.visible import visible

    first, _, command = in_flags(text).partition("\n")
    console = Console(stderr=True)
    console.print(Text(f"warning: {visible(first)}", style="bold yellow"), soft_wrap=True)
    if command:
        console.print(Text(f"    {visible(command)}"), soft_wrap=True)


def print_error(error: PreallocError, *, json: bool) -> None:
    """An error on stderr; with `json` also as an object on stdout."""
    from rich.console import Console

    from prealloc.report.problem import render_error

    error = _as_typed(error)
    if json:
        print_json({"event": "error", **describe(error)})
    render_error(error).print(Console(stderr=True))


def _as_typed(error: PreallocError) -> PreallocError:
    """The error with its options as the command line spells them."""
    from prealloc.cli.options import in_flags

    if isinstance(error, OptionsError):
        return OptionsError([Mistake(*map(in_flags, mistake)) for mistake in error.mistakes])
    told = copy.copy(error)
    told.problem = in_flags(error.problem)
    told.hint = in_flags(error.hint) if error.hint is not None else None
    if "‹id_from› content" in (error.hint or ""):
        told.hint = f"{told.hint}, such as: {shlex.join(['prealloc', *sys.argv[1:], '--id-from', 'content'])}"
    return told


def describe(error: PreallocError) -> dict[str, Any]:
    """An error as plain values."""
    mistakes = [mistake._asdict() for mistake in error.mistakes] if isinstance(error, OptionsError) else []
    return {
        "type": type(error).__name__,
        "problem": error.problem,
        "where": error.where,
        "hint": error.hint,
        "mistakes": mistakes,
        "exit_code": error.exit_code,
    }


class Bar:
    """A bar on stderr: drawn when it is called with (done, in all) and `after_s` have gone by, if it is `shown` at all.

    Where the total only grows with what is done (a pipe), no end is in sight: then it goes to and fro.
    """

    def __init__(self, label: str, numbers: str, *, shown: bool, after_s: float, instead_of: Bar | None) -> None:
        self._label = label
        self._numbers = numbers
        self._shown = shown and sys.stderr.isatty()
        self._draw_at = time.monotonic() + after_s
        self._before = instead_of
        self._full_at = 0
        self.is_endless = False
        self._drawn: Any = None  # not even loaded for work that is quick

    def __call__(self, done: int, total: int) -> None:
        if not self._shown:
            return
        if done < total:
            self.is_endless, self._full_at = False, 0
        else:
            self.is_endless, self._full_at = self.is_endless or 0 < self._full_at < total, total
        if self._drawn is None and time.monotonic() >= self._draw_at:
            if self._before is not None:
                self._before.stop()
            self._drawn = self._new()
        if self._drawn is not None:
            self._draw(done, total)

    def stop(self) -> None:
        """Takes the bar off the screen."""
        if self._drawn is not None:
            self._drawn.stop()

    def _new(self) -> Any:
        from rich import progress
        from rich.console import Console

        from prealloc.report.visible import visible

        count = getattr(progress, self._numbers)()
        text = progress.TextColumn("{task.description}", markup=False)  # a file may be called {difficulty} or [red]
        columns = text, progress.BarColumn(), count, progress.TimeRemainingColumn()
        drawn = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        drawn.add_task(visible(self._label), total=None)
        return drawn

    def _draw(self, done: int, total: int) -> None:
        task = self._drawn.tasks[0]
        if self.is_endless:
            task.total = None  # `update` takes None for "as it is"
            self._drawn.update(task.id, completed=done)
        else:
            self._drawn.update(task.id, completed=done, total=total)
        # Two bars at once would draw over each other: one that is full makes room.
        self._drawn.start() if self.is_endless or done < total else self._drawn.stop()


@contextmanager
def byte_progress(label: str, *, shown: bool = True) -> Iterator[Bar]:
    """Gives a callback (bytes done, bytes in all) that draws a bar on stderr, once it has taken a while.

    On no terminal nothing is drawn, and rich is not even loaded for work that is quick.
    """
    with _stopped(Bar(label, "DownloadColumn", shown=shown, after_s=PROGRESS_AFTER_S, instead_of=None)) as bar:
        yield bar


@contextmanager
def task_progress(
    label: str, *, shown: bool = True, after_s: float = 0.0, instead_of: Bar | None = None
) -> Iterator[Bar]:
    """The same for (tasks done, tasks in all), drawn at once: who has tasks counted knows that they take a while.

    It takes the place of the bar `instead_of`, which may not know that it has come to its end.
    """
    with _stopped(Bar(label, "MofNCompleteColumn", shown=shown, after_s=after_s, instead_of=instead_of)) as bar:
        yield bar


@contextmanager
def _stopped(bar: Bar) -> Iterator[Bar]:
    """Takes a bar off the screen at the end, however that comes."""
    try:
        yield bar
    finally:
        bar.stop()
