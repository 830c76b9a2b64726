"""What became of a unit that was run under a debugger's eyes, as a page."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.outcome import Attempt
from prealloc.report import human
from prealloc.report.page import Page, fact, heading
from prealloc.report.table import COLOURS
from prealloc.report.unit_view import error_lines, result_lines
from prealloc.report.visible import visible


def render_debugged(unit: str, attempt: Attempt, note: str) -> Page:
    """Its status and times, the error with its traceback, the result; and whether that was recorded."""
    waited = f", waited {human.duration(attempt.waiting_s)}" if attempt.waiting_s >= 0.001 else ""
    page = [
        fact("unit", visible(unit), 8),
        fact("status", Text(attempt.status, COLOURS[attempt.status]), 8),
        fact("attempt", f"{attempt.attempt}, worked {human.duration(attempt.working_s)}{waited}; {note}", 8),
    ]
    if attempt.error is not None:
        page += [Text(), heading("error"), *error_lines(attempt.error)]
    if attempt.result is not None:
        page += [Text(), heading("result"), *result_lines(attempt)]
    return Page(lambda width: page)
