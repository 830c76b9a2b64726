"""What must be said beside a success rate: what it is over, what it leaves out, and why it is missing."""

from __future__ import annotations

from collections.abc import Sequence

from prealloc.model.outcome import Successes
from prealloc.report import human
from prealloc.report.visible import visible

HOW_TO = 'no result says success: return {"success": true} or false to get a rate'


def incomplete(decided: int, units: int) -> str | None:
    """The first line of a table with units that are not decided."""
    if decided == units:
        return None
    verb = "has" if units - decided == 1 else "have"
    return f"incomplete: {units - decided:,} of {human.count(units, 'unit')} {verb} no outcome"


def success_notes(success: Successes) -> list[str]:
    """A sentence for each thing that a reader of the rate must know."""
    notes = []
    if success.decided and not success.reported:
        notes.append(HOW_TO)
    elif success.unknown:
        notes.append(f"{human.count(success.unknown, 'ok unit')} with no known success: not in the rate")
    if success.unclear:
        units = human.count(success.unclear, "unit")
        notes.append(f"{units} returned a success that is neither yes nor no, e.g. {visible(success.example or '')}")
    return notes


def mixed_note(names: Sequence[str], how: str) -> str | None:
    """What to do about units that were not done alike; None if all were."""
    if not names:
        return None
    several = ", ".join(map(visible, names))
    return f"units of several runs differ in {several}: {how}"
