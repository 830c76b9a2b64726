"""What must be said beside a success rate: what it is over, what it leaves out, and why it is missing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prealloc.model.outcome import Successes
from prealloc.report import human
from prealloc.report.visible import visible
from prealloc.store.later import Retried
from prealloc.store.results_row import ResultsRow

MUCH = 0.02
"""From this share of timeouts or memory ends on, the rate is also one of the limits."""
FEW_CLUSTERS = 20
HOW_TO = 'no result says success: return {"success": true} or false to get a rate'


def incomplete(decided: int, units: int) -> list[Text]:
    """The first line of a table with units that are not decided; none if all are."""
    if decided == units:
        return []
    verb = "has" if units - decided == 1 else "have"
    return [Text(f"incomplete: {units - decided:,} of {human.count(units, 'unit')} {verb} no outcome", "yellow")]


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


def rate_notes(row: ResultsRow) -> list[str]:
    """The same for the rate of a whole run or of several, from its row of everything."""
    said = Successes(
        decided=row.decided,
        unknown=row.decided - row.rated,
        unclear=row.success_unclear,
        example=row.success_example,
        reported=row.success_rate is not None,
    )
    told = success_notes(said)
    if row.rerun is not None:
        told.append(_rerun(row))
    if row.retried is not None:
        told.append(_retried(row.retried))
    if row.mean_score is not None and row.scored < row.decided:
        told.append(f"score: over the {row.scored:,} of {human.count(row.decided, 'decided unit')} that have one")
    limited = row.timeout + row.out_of_memory
    if row.rate is not None and limited / row.units > MUCH:
        told.append(
            f"{human.percent(limited, row.units)} of the units ran out of time or memory, and count as failures: "
            "with other limits the rate may differ"
        )
    return told


def sample_note(row: ResultsRow) -> str | None:
    """What the intervals are over; None if every unit is a task."""
    level = f"{row.level * 100:g}%"
    if row.cluster != "task":
        few = f"; under {FEW_CLUSTERS} an interval is rough" if row.clusters < FEW_CLUSTERS else ""
        return f"{level} intervals over the {human.count(row.clusters, 'value')} of {visible(row.cluster)}{few}"
    if row.tasks == row.units:
        return None
    return f"{level} intervals over tasks: each of the {row.tasks:,} counts once, in however many cells and repeats"


def _rerun(row: ResultsRow) -> str:
    rerun = row.rerun
    if rerun is None:
        return ""
    many = f"{human.count(rerun.units, 'unit')} that had failed ran again, {rerun.successes:,} became successes"
    first, latest = human.share(row.rate_first), human.share(row.rate_latest)
    if row.outcome == "latest":
        return f"{many}: success is of latest outcomes, which cannot be compared with first tries ({first})"
    return f"{many}: success is of first outcomes; the latest ({latest}) cannot be compared with them"


def _retried(found: Retried) -> str:
    """Whether what infrastructure has cost a try does as well as the rest."""
    under = "it" if found.units == 1 else "them"
    told = f"{human.count(found.units, 'unit')} ended only after infrastructure had failed under {under}: "
    told += f"{human.share(found.rate)} succeeded"
    if found.others is None or found.difference is None:
        return told
    low, high = (f"{each * 100:+.1f}" for each in (found.difference.low, found.difference.high))
    shown = (
        "" if found.difference.low <= 0 <= found.difference.high else "; being tried again may have changed the rate"
    )
    return f"{told}, of the others {human.share(found.others)} (difference {low} to {high} points){shown}"


def mixed_note(names: Sequence[str], how: str) -> str | None:
    """What to do about units that were not done alike; None if all were."""
    if not names:
        return None
    several = ", ".join(map(visible, names))
    return f"units of several runs differ in {several}: {how}"
