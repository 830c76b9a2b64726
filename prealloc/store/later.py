"""Units that took more than one try: whether that has changed the rate. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from prealloc.statistics.difference import Unpaired, unpaired


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """Units that ran again after a final outcome. `resume --failed` opens failures alone: it can only add successes."""

    units: int
    successes: int
    """Those whose latest outcome is a success, and the first was none."""


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """Units that infrastructure or a lost worker has cost a try, by their first final outcomes, against the rest."""

    units: int
    rate: float
    others: float | None
    """The rate of the rest; None: there is none."""
    difference: Unpaired | None
    """`rate` minus `others`."""
    if_failed: float
    """The rate of all if every retried unit had failed."""
    if_succeeded: float


def rerun_of(outcomes: Sequence[tuple[bool | None, bool | None]]) -> Rerun | None:
    """Of the units that ran again: (first success, latest success)."""
    if not outcomes:
        return None
    became = sum(latest is True and first is not True for first, latest in outcomes)
    return Rerun(units=len(outcomes), successes=became)


def retried_of(values: Sequence[tuple[bool, float]], *, level: float) -> Retried | None:
    """Of the rated units: (was retried, 1 for a success, else 0)."""
    mine = [value for retried, value in values if retried]
    rest = [value for retried, value in values if not retried]
    if not mine:
        return None
    won, others = round(sum(mine)), round(sum(rest))
    return Retried(
        units=len(mine),
        rate=won / len(mine),
        others=others / len(rest) if rest else None,
        difference=unpaired(won, len(mine), others, len(rest), level=level) if rest else None,
        if_failed=others / len(values),
        if_succeeded=(others + len(mine)) / len(values),
    )
