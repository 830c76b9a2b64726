"""What shows a run while it goes on: what every reporter is, those without a screen, and the choice of one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from json import dumps
from typing import IO, TYPE_CHECKING, Self

import msgspec

from prealloc.model.events import Event, RunEnded
from prealloc.model.outcome import Status
from prealloc.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


class Reporter:
    """Shows a run while it goes on: an Observer to be entered before the run, and left when it has ended."""

    def __enter__(self) -> Self:
        return self

    def handle(self, event: Event, /) -> None:
        """Takes an event in."""

    def tick(self, now_s: float, /) -> None:
        """Draws, if it is time to."""

    def close(self) -> None:
        """Draws the end."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Stream:
    """Writes to a stream until that fails, then no more.

    `prealloc run ... | head` closes the pipe, a full disk refuses a log: neither is a reason to stop a run
    whose results are safe in its journal. `broken` keeps the reason.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.broken: OSError | ValueError | None = None

    def write(self, text: str) -> None:
        """Writes and flushes. The text ends with its own newline."""
        if self.broken is not None:
            return
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode("ascii", "backslashreplace").decode())
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.broken = error


class JsonLinesReporter(Reporter):
    """`--json`: writes each event as soon as it is known, as a line of JSON, and nothing else."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = Stream(stream)

    def handle(self, event: Event, /) -> None:
        self._stream.write(json_line(event))


def json_line(event: Event) -> str:
    """The event as one line of JSON in ASCII, newline included.

    ASCII, because a stream's encoding is not ours to choose and JSON must be UTF-8: escapes are both. It also
    keeps lone surrogates (file names that are not UTF-8) and terminal controls harmless.
    """
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 has no bytes for
        return dumps(msgspec.to_builtins(event)) + "\n"
    if text.isascii() and "\x7f" not in text:
        return text + "\n"
    return dumps(msgspec.json.decode(text)).replace("\x7f", "\\u007f") + "\n"


class QuietReporter(Reporter):
    """`--quiet`: says nothing while all is well; otherwise one line at the end, on the stream for errors."""

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


def reporter(
    *,
    json: bool = False,
    quiet: bool = False,
    console: Console | None = None,
    errors: IO[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Reporter:
    """The reporter for these flags: JSON lines, silence, the live table on a terminal, or plain lines.

    `json` wins over `quiet`: a caller that asks for JSON wants to read it. `console` is stdout, `errors` stderr.
    `clock` says when events happen.
    """
    if json:
        return JsonLinesReporter(console.file if console is not None else sys.stdout)
    if quiet:
        return QuietReporter(errors if errors is not None else sys.stderr)
    from rich.console import Console  # only for who wants it: it costs a tenth of a second

    from prealloc.report.live import TableReporter
    from prealloc.report.plain import PlainReporter

    console = console if console is not None else Console()
    # A dumb terminal cannot move its cursor back: a live table would be one long scroll.
    if console.is_terminal and not console.is_dumb_terminal:
        return TableReporter(console, clock=clock)
    return PlainReporter(console, clock=clock)
