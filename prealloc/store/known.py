"""What a past run says of the size of the next: its rate, how alike repeats are, on how many tasks values differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from prealloc.model.json_value import canonical
from prealloc.model.size import Known
from prealloc.statistics.rate import Tasks
from prealloc.statistics.repeats import Spread, spread
from prealloc.statistics.size import variance_with_repeats
from prealloc.store.comparison import RUN, Member
from prealloc.store.unit_outcome import judged

_Cells = dict[str, dict[str, dict[str, list[float]]]]
"""Successes by task, by the value of the factor, by all other factors."""


def known_of_rate(members: Iterable[Member]) -> Known | None:
    """For a rate of one cell: that of all cells, and how alike repeats are: the mean over cells. None: no success."""
    cells = [tasks for values in _cells(members, None).values() for tasks in values.values()]
    units = [value for tasks in cells for values in tasks.values() for value in values]
    if not units:
        return None
    spreads = [found for tasks in cells if (found := spread(tasks)) is not None]
    return Known(tasks=_tasks(cells), rate=math.fsum(units) / len(units), icc=_icc(spreads))


def known_of_difference(members: Iterable[Member], factor: str) -> Known | None:
    """For a difference of two values of a factor, as the mean over all pairs of values in all cells.

    `differ` is the share of tasks on which one repeat of each differs; `icc` that of the tasks' differences. None: no
    task is decided for two values.
    """
    cells = _cells(members, factor)
    pairs = [
        pair
        for values in cells.values()
        for one, other in itertools.combinations(values.values(), 2)
        if (pair := [(one[task], other[task]) for task in one if task in other])
    ]
    if not pairs:
        return None
    differ = [fmean([p + q - 2 * p * q for p, q in _rates(pair)]) for pair in pairs]
    spreads = [found for pair in pairs if (found := _spread_of_differences(pair)) is not None]
    tasks = _tasks([tasks for values in cells.values() for tasks in values.values()])
    return Known(tasks=tasks, pairs=len(pairs), differ=fmean(differ), icc=_icc(spreads))


def _spread_of_differences(pair: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Spread | None:
    """The variance of a task's difference with one repeat each, by what is between tasks and within them."""
    pair = [(one, other) for one, other in pair if min(len(one), len(other)) > 1]
    first, second = (
        spread({str(at): values for at, values in enumerate(side)})
        for side in (zip(*pair, strict=True) if pair else ((), ()))
    )
    if first is None or second is None:
        return None
    both = [p - q for p, q in _rates(pair)]
    repeats = len(pair) / math.fsum(1 / min(len(one), len(other)) for one, other in pair)
    middle = fmean(both)
    variance = math.fsum((each - middle) ** 2 for each in both) / (len(both) - 1)
    between = max(0.0, variance - (first.within + second.within) / repeats)
    return Spread(between=between, within=variance_with_repeats(0.0, first.within, second.within, 1))


def _icc(spreads: Sequence[Spread]) -> float | None:
    """None: there are no repeats."""
    if not spreads:
        return None
    within, between = (fmean([getattr(each, name) for each in spreads]) for name in ("within", "between"))
    return Spread(within=within, between=between).icc


def _rates(pair: Iterable[tuple[Sequence[float], Sequence[float]]]) -> list[tuple[float, float]]:
    return [(fmean(one), fmean(other)) for one, other in pair]


def _cells(members: Iterable[Member], factor: str | None) -> _Cells:
    found: _Cells = {}
    for member in members:
        if (value := judged(member.unit).rated) is None:
            continue
        cell = {name: each for name, each in member.cell.items() if name != factor}
        given = member.value(factor) if factor is not None else None
        tasks = found.setdefault(canonical(cell), {}).setdefault(canonical(given), {})
        tasks.setdefault(member.unit.task, []).append(value)
    return found


def factors_of(members: Iterable[Member]) -> list[str]:
    """Factors with several values, the run first."""
    values: dict[str, set[str]] = {}
    for member in members:
        for name, value in member.cell.items():
            values.setdefault(name, set()).add(canonical(value))
    return sorted((name for name in values if len(values[name]) > 1), key=lambda name: name != RUN)


def _tasks(cells: Iterable[Tasks]) -> int:
    return len({task for tasks in cells for task in tasks})
