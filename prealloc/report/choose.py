"""Which reporter it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from prealloc.report.reporter import Reporter

if TYPE_CHECKING:
    from rich.console import Console


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
    # Each is imported when it is wanted: rich costs a tenth of a second, and JSON lines need none of it.
    if json:
        from prealloc.report.jsonlines import JsonLinesReporter

        return JsonLinesReporter(console.file if console is not None else sys.stdout)
    if quiet:
        from prealloc.report.quiet import QuietReporter

        return QuietReporter(errors if errors is not None else sys.stderr)
    from rich.console import Console

    from prealloc.report.live import TableReporter
    from prealloc.report.plain import PlainReporter

    console = console if console is not None else Console()
    # A dumb terminal cannot move its cursor back: a live table would be one long scroll.
    if console.is_terminal and not console.is_dumb_terminal:
        return TableReporter(console, clock=clock)
    return PlainReporter(console, clock=clock)
