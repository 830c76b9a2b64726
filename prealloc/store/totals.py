"""What a whole run came to, over every unit of its plan: success, types, errors, the slowest units.

One pass over the fold, since it is made at the end of every run: 100,000 units take some 0.2 s.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec

from prealloc.model.events import FailureKind, SlowUnit, TypeTotal
from prealloc.model.outcome import Status, Successes
from prealloc.model.plan import Unit
from prealloc.store.fold import Outcome, RunState, count_success

ERRORS_SHOWN = 20
SLOWEST_SHOWN = 5


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a run; see RunEnded, which carries them, for what they mean."""

    success: Successes
    types: tuple[TypeTotal, ...]
    errors: tuple[FailureKind, ...]
    further_errors: int
    slowest: tuple[SlowUnit, ...]


def totals(state: RunState, types: Iterable[str]) -> Totals:
    """The sums of a folded run. `types` are those of its units' tasks, in the units' order."""
    by_type: dict[str, tuple[list[int], Successes]] = {}  # [units, ok] and their successes
    failures: dict[tuple[Status, str, str], tuple[list[int], Unit]] = {}
    slowest: list[tuple[float, int, Unit, str, Status]] = []
    for place, ((unit, unit_state), type) in enumerate(zip(state.units.items(), types, strict=True)):
        sums = by_type.get(type)
        if sums is None:
            sums = by_type[type] = ([0, 0], Successes())
        counts, successes = sums
        counts[0] += 1
        count_success(successes, unit_state)
        outcome = unit_state.outcome
        if outcome is None:
            continue
        if outcome.status is Status.OK:
            counts[1] += 1
        else:
            units, _ = failures.setdefault(_kind(outcome), ([0], unit))
            units[0] += 1
        if len(slowest) < SLOWEST_SHOWN or outcome.working_s > slowest[0][0]:
            entry = (outcome.working_s, -place, unit, type, outcome.status)
            heapq.heappush(slowest, entry) if len(slowest) < SLOWEST_SHOWN else heapq.heapreplace(slowest, entry)
    kinds = heapq.nsmallest(ERRORS_SHOWN, failures.items(), key=lambda item: (-item[1][0][0], item[0]))
    errors = [
        FailureKind(status=status, type=type, message=message, units=units, example=str(example))
        for (status, type, message), ([units], example) in kinds
    ]
    not_ok = sum(units for [units], _ in failures.values())
    whole = Successes()
    for _, successes in by_type.values():
        whole.add(successes)
    return Totals(
        success=whole,
        types=tuple(
            TypeTotal(type=name, units=units, ok=ok, rate=successes.rate(whole.reported), success=successes)
            for name, ([units, ok], successes) in sorted(by_type.items(), key=lambda item: (-item[1][0][0], item[0]))
        ),
        errors=tuple(errors),
        further_errors=not_ok - sum(kind.units for kind in errors),
        slowest=tuple(
            SlowUnit(working_s=working_s, status=status, type=type, unit=str(unit))
            for working_s, _, unit, type, status in sorted(slowest, reverse=True)
        ),
    )


def first_line(text: str, most: int = 200) -> str:
    """The first line that is not blank, cut to `most` characters."""
    # The slice comes first: a message may be megabytes long, and only its start is looked at.
    start = text[: 4 * most].strip()
    return start.splitlines()[0].rstrip()[:most] if start else ""


def _kind(outcome: Outcome) -> tuple[Status, str, str]:
    error = outcome.error
    return (outcome.status, error.type, first_line(error.message)) if error is not None else (outcome.status, "", "")
