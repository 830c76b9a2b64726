"""The live table on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.control import Control
from rich.live import Live

from prealloc.model.events import Event, Note
from prealloc.report.page import Page, prose
from prealloc.report.progress import RunProgress
from prealloc.report.reporter import Reporter
from prealloc.report.summary import render_summary
from prealloc.report.table import render_table
from prealloc.report.visible import visible

REDRAW_S = 0.2
LAST_SHARDS = 50
"""The table that stays shows every shard, up to this many."""
_TERMS = frozenset({"alacritty", "contour", "foot", "foot-extra", "wezterm", "xterm-ghostty", "xterm-kitty"})
_PROGRAMS = frozenset({"WezTerm", "contour", "ghostty", "iTerm.app"})


class TableReporter(Reporter):
    """Redraws the table in place, five times per second at most, and leaves it with a summary at the end."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.progress = RunProgress()
        self._console = console
        self._clock = clock
        self._drawn_s: float | None = None
        self._size = console.size
        self._begin, self._end = ("\x1b[?2026h", "\x1b[?2026l") if _synchronises(environment) else ("", "")
        self._live = self._new()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def handle(self, event: Event, /) -> None:
        if isinstance(event, Note) and self.progress.started is None:
            # Above the table, where it stays whole: it may be a command to paste before anything starts.
            Page(lambda width: [prose(f"note: {visible(event.text)}")]).print(self._console)
        else:
            self.progress.apply(event, self._clock())

    def tick(self, now_s: float, /) -> None:
        if self._drawn_s is not None and now_s - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = now_s
        size, before = self._console.size, self._size
        self._size = size
        with self._in_one_piece():
            if size != before:
                self._wipe()
            # One line stays free: a full screen would scroll by one with each frame.
            self._live.update(render_table(self.progress, now_s, height=size.height - 1), refresh=True)

    def close(self) -> None:
        with self._in_one_piece():
            self._live.stop()
            if self.progress.started is not None:
                self._leave()

    def _leave(self) -> None:
        """What stays on the screen."""
        few = len(self.progress.shards) <= LAST_SHARDS
        height = None if few else max(self._console.size.height, LAST_SHARDS) - 1
        render_table(self.progress, self._clock(), height=height).print(self._console)
        if self.progress.ended is not None:
            self._console.print()
            render_summary(self.progress, self.progress.ended).print(self._console)

    @contextmanager
    def _in_one_piece(self) -> Iterator[None]:
        self._console.file.write(self._begin)
        try:
            yield
        finally:
            self._console.file.write(self._end)
            self._console.file.flush()

    def _new(self) -> Live:
        # No thread of its own: between two ticks nothing changes, and a thread could draw half an event.
        # Transient: what stays is drawn afresh, without the clamping that only a moving picture needs.
        return Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def _wipe(self) -> None:
        """Begins on an empty screen: a terminal that is resized breaks lines anew, so the place of ours is unknown."""
        self._live.stop()
        self._console.control(Control.home(), Control.clear())
        self._live = self._new()
        self._live.start()


def _synchronises(environment: Mapping[str, str]) -> bool:
    """Whether the terminal is known to show a frame in one piece (DEC mode 2026)."""
    return environment.get("TERM") in _TERMS or environment.get("TERM_PROGRAM") in _PROGRAMS
