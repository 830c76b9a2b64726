"""What the seals of runs say, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prealloc.report import human
from prealloc.report.page import Page, fact
from prealloc.report.visible import visible
from prealloc.store.seals import NEVER, RunSeals

_WIDTH = 11


def render_seals(found: Sequence[RunSeals]) -> Page:
    """Of each run what was edited since its sessions ended, and what no seal covers."""
    lines: list[Text] = []
    for each in found:
        lines += [fact("run", visible(each.run), _WIDTH)] if len(found) > 1 else []
        lines += _run(each)
    lines.append(fact("", NEVER, _WIDTH))
    lines.append(fact("", "seals detect edits, not forgery: who can write the journal can write a seal", _WIDTH))
    return Page(lambda width: lines)


def _run(found: RunSeals) -> list[Text]:
    if not found.sealed:
        none = "nothing: no session of a version that seals has ended"
        return [fact("sealed", none, _WIDTH)]
    files = f"{human.count(found.sealed, 'file')}, {human.size(found.bytes)}"
    as_sealed = f"{files}, as {'it was' if found.sealed == 1 else 'they were'} when sealed"
    lines = [fact("sealed", files if found.edited else as_sealed, _WIDTH)]
    for number, text in enumerate(found.edited):
        lines.append(fact("edited" if not number else "", Text(visible(text), style="red"), _WIDTH))
    now = ["what the session that runs now writes; it is sealed at its end"]
    for number, text in enumerate(now if found.running else found.not_sealed):
        lines.append(fact("not sealed" if not number else "", visible(text), _WIDTH))
    return lines
