"""What a report has become, in two lines."""

from __future__ import annotations

from rich.text import Text

from prealloc.files.paths import readable_name
from prealloc.model.answers import WrittenReport
from prealloc.report import human
from prealloc.report.page import Page, whole
from prealloc.report.visible import visible


def render_written(made: WrittenReport) -> Page:
    """Where it is, and what is not in it."""
    name = visible(readable_name(str(made.out)))
    lines = [Text(f"{name}: {human.size(made.bytes)}, {human.count(made.units, 'unit')}")]
    if made.listed < made.units:
        lines.append(Text(f"listed are {made.listed:,}: those that are not ok first, then a sample (--rows)"))
    if made.not_detailed:
        there = f"{made.detailed:,} units have their errors and results in it"
        lines.append(Text(f"{there}, {made.not_detailed:,} did not fit"))
    return Page(lambda width: [whole(line) for line in lines])
