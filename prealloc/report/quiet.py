"""`--quiet`: silence, unless something is not as it should be."""

from __future__ import annotations

from typing import IO

from prealloc.model.events import Event, RunEnded
from prealloc.model.outcome import Status
from prealloc.report.reporter import Reporter, Stream
from prealloc.report.visible import visible


class QuietReporter(Reporter):
    """Says nothing while all is well; otherwise one line at the end, on the stream for errors."""

    def __init__(self, errors: IO[str]) -> None:
        self._errors = Stream(errors)
        self._ended: RunEnded | None = None

    def handle(self, event: Event, /) -> None:
        if isinstance(event, RunEnded):
            self._ended = event

    def close(self) -> None:
        ended = self._ended
        if ended is not None and (ended.exit_code != 0 or ended.library_opens):
            self._errors.write(last_line(ended) + "\n")


def last_line(ended: RunEnded) -> str:
    """`run/: 500 units, ok 480, failed 20; to go on: prealloc resume run/`."""
    counts = [f"{status} {ended.census[status]}" for status in Status if ended.census.get(status)]
    line = f"{visible(ended.run)}: {sum(ended.census.values())} units, {', '.join(counts) or 'none run'}"
    if ended.stopped is not None:
        line += f"; stopped: {visible(ended.stopped)}"
    if ended.not_asked:
        line += f", not asked for {ended.not_asked}"
    if ended.library_opens:
        line += f"; library opens by workers: {ended.library_opens}"
    return line if ended.resume is None else f"{line}; to go on: {visible(ended.resume)}"
