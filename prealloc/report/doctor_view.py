"""What the doctor found, as a page: a line per finding, and under it how to fix what is not fine."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prealloc.doctor.finding import Diagnosis, Finding, Level, Repaired
from prealloc.report import human
from prealloc.report.page import Page, beside, heading, whole, wrapped
from prealloc.report.visible import visible

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
FIRST_UNITS = 20
FIRST_PIECES = 20
_COMMANDS = ("kill ", "prealloc ")
"""A hint that begins so is for copying."""
_LEVEL = 9
_NAME = 17
_NO_LEVEL = (" " * _LEVEL, "")


def render_diagnosis(found: Diagnosis) -> Page:
    """The findings under the name of their group, what was repaired, and how many are not fine."""
    return Page(lambda width: _page(found, width))


def _page(found: Diagnosis, width: int | None) -> list[Text]:
    groups = {
        "machine": found.machine,
        f"file system of {found.folder}": found.files,
        f"run {found.folder}": found.run,
        f"engine {found.folder}": found.hosts,
    }
    lines: list[Text] = []
    for title, findings in groups.items():
        if findings:
            lines += [heading(visible(title)), *(line for each in findings for line in _finding(each, width)), Text()]
    if found.repair is not None:
        lines += [heading("repair"), *_repaired(found.repair, width), Text()]
    return [*lines, _verdict(found.findings)]


def _finding(finding: Finding, width: int | None) -> list[Text]:
    level = (f"{finding.level.value:<{_LEVEL}}", COLOURS[finding.level])
    lines = _row(level, finding.name, finding.seen, width)
    if finding.where:
        lines += _row(_NO_LEVEL, "  where", finding.where, width)
    if finding.hint:
        command = finding.hint.startswith(_COMMANDS)
        lines += _row(_NO_LEVEL, "  hint", finding.hint, None if command else width, style="green")
    return lines


def _row(level: tuple[str, str], name: str, text: str, width: int | None, *, style: str = "") -> list[Text]:
    told = visible(text)
    room = None if width is None else width - _LEVEL - _NAME
    pieces = [told] if room is None or room < _NAME else wrapped(told, room)
    return beside(Text.assemble(level, (f"{visible(name):<{_NAME}}", "dim")), pieces, style)


def _repaired(repaired: Repaired, width: int | None) -> list[Text]:
    if not repaired.moved:
        return [Text("nothing to repair: every line is readable and planned", style="green")]
    lines: list[Text] = []
    for moved in repaired.moved[:FIRST_PIECES]:
        place = f"{moved.file}:{moved.line}, {human.count(moved.lines, 'line')}" if moved.line else moved.file
        lines += _row((f"{'moved':<{_LEVEL}}", "yellow"), human.size(moved.bytes), f"{place}: {moved.why}", width)
        lines += _row(_NO_LEVEL, "  to", moved.aside, width)
    if len(repaired.moved) > FIRST_PIECES:
        lines.append(Text(f"… {len(repaired.moved) - FIRST_PIECES:,} more"))
    if not repaired.again:
        return [*lines, Text("no unit runs again for it: all are decided by other lines")]
    again = human.count(len(repaired.again), "unit runs", "units run")
    lines.append(Text(f"{again} again that may have had an outcome there:"))
    lines += [whole(Text(f"  {visible(unit)}")) for unit in repaired.again[:FIRST_UNITS]]
    if len(repaired.again) > FIRST_UNITS:
        lines.append(Text(f"  … {len(repaired.again) - FIRST_UNITS:,} more"))
    return [*lines, whole(Text(f"to run them: {visible(repaired.resume)}"))]


def _verdict(findings: Sequence[Finding]) -> Text:
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if not problems and not warnings:
        return Text("all fine", style="green")
    told = f"{human.count(problems, 'problem')}, {human.count(warnings, 'warning')}"
    return Text(told, style=COLOURS[Level.PROBLEM if problems else Level.WARNING])
