"""The live table on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from prealloc.model.events import Event
from prealloc.report.progress import RunProgress
from prealloc.report.summary import render_summary
from prealloc.report.table import render_table

REDRAW_S = 0.2
LAST_SHARDS = 50
"""The table that stays shows every shard, up to this many."""


class TableReporter:
    """Redraws the table in place, five times per second at most, and leaves it with a summary at the end."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.progress = RunProgress()
        self._console = console
        self._clock = clock
        self._drawn_s: float | None = None
        # No thread of its own: between two ticks nothing changes, and a thread could draw half an event.
        # Transient: what stays is drawn afresh, without the clamping that only a moving picture needs.
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def handle(self, event: Event) -> None:
        self.progress.apply(event, self._clock())

    def tick(self, now_s: float) -> None:
        if self._drawn_s is not None and now_s - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = now_s
        # One line stays free: a full screen would scroll by one with each frame.
        height = self._console.size.height - 1
        self._live.update(render_table(self.progress, now_s, height=height), refresh=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
        if self.progress.started is None:
            return
        few = len(self.progress.shards) <= LAST_SHARDS
        height = None if few else max(self._console.size.height, LAST_SHARDS) - 1
        self._console.print(render_table(self.progress, self._clock(), height=height))
        if self.progress.ended is not None:
            self._console.print()
            render_summary(self.progress, self.progress.ended).print(self._console)
