"""What a report has become, in two lines."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from prealloc.files.paths import readable_name
from prealloc.report import human
from prealloc.report.page import Page, whole
from prealloc.report.visible import visible


def render_written(out: Path, size: int, units: int, listed: int, detailed: int, not_detailed: int) -> Page:
    """Where it is, and what is not in it."""
    lines = [Text(f"{visible(readable_name(str(out)))}: {human.size(size)}, {human.count(units, 'unit')}")]
    if listed < units:
        lines.append(Text(f"listed are {listed:,}: those that are not ok first, then a sample (--rows)"))
    if not_detailed:
        lines.append(Text(f"{detailed:,} units have their errors and results in it, {not_detailed:,} did not fit"))
    return Page(lambda width: [whole(line) for line in lines])
