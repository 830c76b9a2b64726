"""`prealloc status --watch`: the live table of a run that somebody else has started."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from prealloc.cli.signals import ended_by_signals

if TYPE_CHECKING:
    from prealloc.api.watch import Watch

LOOK_S = 0.5


class _Clock:
    """The time of what is told; it never goes back."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def reach(self, at: float) -> None:
        self._now = max(self._now, at)


def watch(run: Path, *, json: bool) -> int | None:
    """Shows a run until it ends; returns its exit code. Of an experiment: those of its runs that run; None.

    Ctrl-C ends the watching, and nothing else.
    """
    from prealloc.api.watch import watches

    code = None
    with ended_by_signals(nothing="no longer watched; what runs goes on"):
        for each in watches(run):
            code = _follow(each, json=json)
    return code


def _follow(watched: Watch, *, json: bool) -> int | None:
    from prealloc.report.reporter import reporter

    clock = _Clock()
    shown = reporter(json=json, clock=clock)
    if (progress := getattr(shown, "progress", None)) is not None:
        progress.is_watched = True
    with shown:
        while True:
            for at, event in watched.news():
                clock.reach(at)
                shown.handle(event)
            if watched.has_ended:
                return watched.exit_code
            clock.reach(time.time())
            shown.tick(clock())
            time.sleep(LOOK_S)
