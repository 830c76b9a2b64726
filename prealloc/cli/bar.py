"""Bars on a terminal for work that takes a while."""

from __future__ import annotations

import sys
import time
from typing import Any

PROGRESS_AFTER_S = 0.5


class Bar:
    """A bar on stderr: drawn when it is called with (done, in all) and `after_s` have gone by, if it is `shown` at all.

    Where the total only grows with what is done (a pipe), the end is unknown: then it moves back and forth.
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

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *ended: object) -> None:
        self.stop()

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


def byte_progress(label: str, *, shown: bool = True) -> Bar:
    """A bar on stderr for (bytes done, bytes in all), drawn once it has taken a while.

    On no terminal nothing is drawn, and rich is not even loaded for work that is quick.
    """
    return Bar(label, "DownloadColumn", shown=shown, after_s=PROGRESS_AFTER_S, instead_of=None)


def task_progress(label: str, *, shown: bool = True, after_s: float = 0.0, instead_of: Bar | None = None) -> Bar:
    """The same for (tasks done, tasks in all), drawn at once: counting tasks is known to take a while.

    It takes the place of the bar `instead_of`, which may not know that it has come to its end.
    """
    return Bar(label, "MofNCompleteColumn", shown=shown, after_s=after_s, instead_of=instead_of)
