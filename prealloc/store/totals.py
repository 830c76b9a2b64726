"""What a whole run came to, over every unit of its plan: success, types, factors, errors, the slowest units.

One pass over the fold, since it is made at the end of every run: 100,000 units take some 0.2 s.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from prealloc.model.events import FactorTotal, FailureKind, SlowUnit, TypeTotal
from prealloc.model.outcome import Status, Successes
from prealloc.model.plan import Unit
from prealloc.store.fold import RunState, count_success

ERRORS_SHOWN = 20
SLOWEST_SHOWN = 5
LINE_SHOWN = 200


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a run; see RunEnded, which carries them, for what they mean."""

    success: Successes
    types: tuple[TypeTotal, ...]
    factors: tuple[FactorTotal, ...]
    errors: tuple[FailureKind, ...]
    further_errors: int
    slowest: tuple[SlowUnit, ...]


class _Sums:
    """Units, those that are ok, and what their results say."""

    __slots__ = ("ok", "success", "units")

    def __init__(self) -> None:
        self.units = 0
        self.ok = 0
        self.success = Successes()

    def add(self, other: _Sums) -> None:
        self.units += other.units
        self.ok += other.ok
        self.success.add(other.success)

    def told(self, reported: bool) -> dict[str, Any]:
        """The fields of a Total. `reported`: whether any result of the run says success."""
        return {"units": self.units, "ok": self.ok, "rate": self.success.rate(reported), "success": self.success}


def totals(
    state: RunState,
    types: Iterable[str],
    *,
    factors: Mapping[str, Sequence[Any]] | None = None,
    cells: Mapping[str, Mapping[str, Any]] | None = None,
    leave_out: Set[Unit] = frozenset(),
) -> Totals:
    """The sums of a folded run, but for the units that are to be left out.

    `types` are those of its units' tasks, in the units' order, `factors` the values of the experiment's factors, and
    `cells` the values that each shard has of them.
    """
    sums: dict[tuple[str, str], _Sums] = {}  # by shard and type
    failures: dict[tuple[Status, str, str], tuple[list[int], Unit]] = {}
    slowest: list[tuple[float, int, Unit, str, Status]] = []
    for place, ((unit, unit_state), type) in enumerate(zip(state.units.items(), types, strict=True)):
        if unit in leave_out:
            continue
        if (mine := sums.get((unit.shard, type))) is None:
            mine = sums[unit.shard, type] = _Sums()
        mine.units += 1
        count_success(mine.success, unit_state)
        if (outcome := unit_state.outcome) is None:
            continue
        attempt = outcome.attempt
        if attempt.status is Status.OK:
            mine.ok += 1
        else:
            error = attempt.error
            kind = (error.type, first_line(error.message)) if error is not None else ("", "")
            units, _ = failures.setdefault((attempt.status, *kind), ([0], unit))
            units[0] += 1
        if len(slowest) < SLOWEST_SHOWN or attempt.working_s > slowest[0][0]:
            entry = (attempt.working_s, -place, unit, type, attempt.status)
            heapq.heappush(slowest, entry) if len(slowest) < SLOWEST_SHOWN else heapq.heapreplace(slowest, entry)
    kinds = heapq.nsmallest(ERRORS_SHOWN, failures.items(), key=lambda item: (-item[1][0][0], item[0]))
    errors = [
        FailureKind(status=status, type=type, message=message, units=units, example=str(example))
        for (status, type, message), ([units], example) in kinds
    ]
    not_ok = sum(units for [units], _ in failures.values())
    whole = Successes()
    for each in sums.values():
        whole.add(each.success)
    return Totals(
        success=whole,
        types=_type_totals(sums, whole.reported),
        factors=_factor_totals(sums, factors or {}, cells or {}, whole.reported),
        errors=tuple(errors),
        further_errors=not_ok - sum(kind.units for kind in errors),
        slowest=tuple(
            SlowUnit(working_s=working_s, status=status, type=type, unit=str(unit))
            for working_s, _, unit, type, status in sorted(slowest, reverse=True)
        ),
    )


def _type_totals(sums: Mapping[tuple[str, str], _Sums], reported: bool) -> tuple[TypeTotal, ...]:
    by_type: dict[str, _Sums] = {}
    for (_, type), each in sums.items():
        by_type.setdefault(type, _Sums()).add(each)
    ordered = sorted(by_type.items(), key=lambda item: (-item[1].units, item[0]))
    return tuple(TypeTotal(type=name, **each.told(reported)) for name, each in ordered)


def _factor_totals(
    sums: Mapping[tuple[str, str], _Sums],
    factors: Mapping[str, Sequence[Any]],
    cells: Mapping[str, Mapping[str, Any]],
    reported: bool,
) -> tuple[FactorTotal, ...]:
    found = []
    for factor, values in factors.items():
        by_value = {msgspec.json.encode(value): _Sums() for value in values}  # 1, 1.0 and true are three values
        for (shard, _), each in sums.items():
            if (total := by_value.get(msgspec.json.encode(cells[shard].get(factor)))) is not None:
                total.add(each)
        for value, each in zip(values, by_value.values(), strict=True):
            if len(values) > 1 and each.units:
                found.append(FactorTotal(factor=factor, value=value, **each.told(reported)))
    return tuple(found)


def first_line(text: str) -> str:
    """The first line that is not blank, cut to LINE_SHOWN characters."""
    # The slice comes first: a message may be megabytes long, and only its start is looked at.
    start = text[: 4 * LINE_SHOWN].strip()
    return start.splitlines()[0].rstrip()[:LINE_SHOWN] if start else ""
