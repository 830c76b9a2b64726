"""Two values of a factor on the same tasks, in numbers. Pure arithmetic; the pictures are in compare_view.

Tasks are paired where everything but the factor is equal: the other factors of the cell, the task's id and, unless the
factor is the difficulty, its content. A task is one observation, however many units it has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.json_value import canonical, plain
from prealloc.model.outcome import FINAL
from prealloc.model.questions import Adjust, CompareOptions, Metric, OutcomeOf
from prealloc.model.words import shown
from prealloc.statistics.difference import Difference, paired, paired_bounds
from prealloc.statistics.several import benjamini_hochberg, cochran_q, holm
from prealloc.statistics.size import difference_shown
from prealloc.store.unit_outcome import UnitOutcome, judged, mixed

Verdict = Literal[
    "better", "worse", "faster", "slower", "no worse", "no slower", "no difference shown", "too few tasks differ"
]

LEAST_DIFFERING = 5
"""With fewer tasks that differ no outcome could be significant at 5%: 4 of 4 give p = .06."""
RUN = "run"
"""The factor of several runs: which of them it is."""


class Member(NamedTuple):
    """A unit and where it belongs."""

    unit: UnitOutcome
    cell: Mapping[str, Any]
    """The factors of its cell, and the run if there are several."""
    content: Hashable
    """Stands for its task's bytes: the same id may be another task in another run."""

    def value(self, name: str) -> Any:
        """Of a factor, or else of a setting, by which runs may differ too; None if it has neither."""
        return self.cell.get(name, self.unit.settings.get(name))


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the factor against another."""

    group: dict[str, Any]
    """The values of the keys in `by`."""
    value: Any
    against: Any
    cells: int
    """Cells of the value that have a counterpart with units on the same tasks."""
    of_cells: int
    difference: Difference | None
    """None: no task is decided on both sides. Of working_s it is that of logarithms."""
    ratio: tuple[float, float, float] | None
    """Of working_s: (low, ratio, high) of the geometric means."""
    p: float | None
    """Adjusted for all comparisons together."""
    verdict: Verdict | None
    shown_from: float | None
    """The difference from which on it would have been shown, with 80% power."""
    undecided: int
    """Units on both sides that have no final outcome."""
    bounds: tuple[float, float] | None
    """Of success: the least and the greatest difference, whatever becomes of the undecided units."""
    missing: int
    """Tasks of a cell that one side has, or has decided, and the other has not."""
    missing_tasks: tuple[str, ...]
    """The first of their ids."""
    only_value: tuple[str, ...]
    """Tasks whose mean is higher for the value."""
    only_against: tuple[str, ...]


class AnyDiffers(msgspec.Struct, frozen=True, kw_only=True):
    """Whether any value of the factor differs from the others: Cochran's Q over tasks with one unit for each value."""

    group: dict[str, Any]
    tasks: int
    statistic: float
    df: int
    p: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All comparisons of a call."""

    factor: str
    metric: Metric
    level: float
    adjust: Adjust
    outcome: OutcomeOf
    margin: float | None
    matched: tuple[str, ...]
    """The other factors, whose values are equal on both sides of a pair."""
    mixed: tuple[str, ...]
    """`worker`, and settings of whole runs, of which there are several on a side: units were not done alike."""
    rows: tuple[Compared, ...]
    any_differs: tuple[AnyDiffers, ...]
    """Of success, where there are three values or more; none where a task has several units of a value."""


def compare_members(members: Iterable[Member], asked: CompareOptions) -> Comparison:
    """Compares the values of a factor. Raises OptionsError for a factor, baseline or key that is not there."""
    members = list(members)
    factors = list(dict.fromkeys(name for member in members for name in member.cell))
    found = (_value(member, asked.factor) for member in members)
    values = list({canonical(value): value for value in found if value is not None}.values())
    _check(asked, factors, values)
    matched = tuple(name for name in factors if name not in (asked.factor, *asked.by, RUN))
    measure = _measure(asked)
    rows: list[Compared] = []
    any_differs: list[AnyDiffers] = []
    for group, mine in _grouped(members, asked.by):
        by_value: dict[str, _Side] = {}
        for member in mine:
            value = _value(member, asked.factor)
            if (text := canonical(value)) not in by_value:
                by_value[text] = _Side(value)
            key = tuple(canonical(member.cell.get(name)) for name in matched)
            content = None if asked.factor == "difficulty" else member.content
            by_value[text].add(key, (member.unit.task, content), measure(member.unit))
        if asked.metric == "success" and (any_differ := _any_differs(group, list(by_value.values()))) is not None:
            any_differs.append(any_differ)
        for one, other in _pairs([canonical(value) for value in values], asked.baseline, values):
            if one in by_value and other in by_value:
                rows.append(_compared(group, by_value[one], by_value[other], asked))
    as_asked = {name: getattr(asked, name) for name in ("factor", "metric", "level", "adjust", "outcome", "margin")}
    return Comparison(
        **as_asked,
        matched=matched,
        mixed=_mixed(members, asked),
        rows=_adjusted(rows, asked),
        any_differs=tuple(any_differs),
    )


def _mixed(members: Sequence[Member], asked: CompareOptions) -> tuple[str, ...]:
    sides: dict[str, list[UnitOutcome]] = {}
    for member in members:
        sides.setdefault(canonical(_value(member, asked.factor)), []).append(member.unit)
    names = (name for units in sides.values() for name in mixed(units, (asked.factor, *asked.by)))
    return tuple(dict.fromkeys(names))


def closes_gate(found: Comparison) -> list[str]:
    """Every comparison that is not shown to be no worse than the margin, and why; none if all are."""
    margin = found.margin or 0.0
    return [why for row in found.rows if (why := _not_passed(row, found.metric, margin)) is not None]


class _Side:
    """The units of one value of the factor: their measures by cell and task. None is undecided."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.measures: dict[tuple[tuple[str, ...], tuple[str, Hashable]], list[float | None]] = {}
        self.cells: dict[tuple[str, ...], None] = {}

    def add(self, cell: tuple[str, ...], task: tuple[str, Hashable], measure: float | None) -> None:
        self.cells[cell] = None
        self.measures.setdefault((cell, task), []).append(measure)


def _compared(group: dict[str, Any], one: _Side, other: _Side, asked: CompareOptions) -> Compared:
    planned = [key for key in one.measures if key in other.measures]
    lacking = [key for key in (*one.measures, *other.measures) if key not in one.measures or key not in other.measures]
    first: dict[str, list[float]] = {}
    second: dict[str, list[float]] = {}
    open_first: dict[str, int] = {}
    open_second: dict[str, int] = {}
    all_first: dict[str, list[float]] = {}
    all_second: dict[str, list[float]] = {}
    for key in planned:
        task = key[1][0]
        a, b = ([value for value in side.measures[key] if value is not None] for side in (one, other))
        for decided, every, left, side in ((a, all_first, open_first, one), (b, all_second, open_second, other)):
            every.setdefault(task, []).extend(decided)
            left[task] = left.get(task, 0) + len(side.measures[key]) - len(decided)
        if a and b:
            first.setdefault(task, []).extend(a)
            second.setdefault(task, []).extend(b)
        else:
            lacking.append(key)
    is_time = asked.metric == "working_s"
    limits = (-1.0, 1.0) if asked.metric == "success" else None
    found = paired(first, second, level=asked.level, limits=limits)
    undecided = sum(open_first.values()) + sum(open_second.values())
    bounds = None
    if asked.metric == "success" and undecided:
        bounds = paired_bounds(all_first, all_second, open_first, open_second)
    ratio = (math.exp(found.low), math.exp(found.value), math.exp(found.high)) if found and is_time else None
    names = tuple(sorted({task for _, (task, _) in lacking}))
    higher = {task: sum(first[task]) / len(first[task]) - sum(second[task]) / len(second[task]) for task in first}
    return Compared(
        group=group,
        value=one.value,
        against=other.value,
        cells=len({cell for cell, _ in planned}),
        of_cells=len(one.cells),
        difference=found,
        ratio=ratio,
        p=found.p if found else None,
        verdict=None,
        shown_from=_shown_from(found, asked.level),
        undecided=undecided,
        bounds=bounds,
        missing=len(lacking),
        missing_tasks=names[:20],
        only_value=tuple(sorted(task for task, by in higher.items() if by > 0)),
        only_against=tuple(sorted(task for task, by in higher.items() if by < 0)),
    )


def _any_differs(group: dict[str, Any], sides: Sequence[_Side]) -> AnyDiffers | None:
    if len(sides) < 3 or any(len(values) > 1 for side in sides for values in side.measures.values()):
        return None
    rows = [
        [int(value) for side in sides for value in side.measures.get(key, ()) if value is not None]
        for key in sides[0].measures
    ]
    whole = [row for row in rows if len(row) == len(sides)]
    if not whole or len({key[0] for side in sides for key in side.measures}) > 1:
        return None
    statistic, df, p = cochran_q(whole)
    return AnyDiffers(group=group, tasks=len(whole), statistic=statistic, df=df, p=p)


def _shown_from(found: Difference | None, level: float) -> float | None:
    """By the spread that was seen. Where no task differs, there was none: one task that does is assumed."""
    if found is None or found.tasks < 2:
        return None
    se = found.se or 1 / found.tasks
    return difference_shown(found.tasks, found.tasks * se * se, level=level)


def _adjusted(rows: Sequence[Compared], asked: CompareOptions) -> tuple[Compared, ...]:
    ways: dict[Adjust, Callable[[Sequence[float]], list[float]]]
    ways = {"holm": holm, "bh": benjamini_hochberg, "none": list}
    adjusted = iter(ways[asked.adjust]([row.p for row in rows if row.p is not None]))
    p = [next(adjusted) if row.p is not None else None for row in rows]
    return tuple(
        msgspec.structs.replace(row, p=mine, verdict=_verdict(row.difference, mine, asked))
        for row, mine in zip(rows, p, strict=True)
    )


def _verdict(found: Difference | None, p: float | None, asked: CompareOptions) -> Verdict | None:
    if found is None or p is None:
        return None
    is_time = asked.metric == "working_s"
    if p <= 1 - asked.level and not found.low <= 0 <= found.high:
        if is_time:
            return "slower" if found.value > 0 else "faster"
        return "better" if found.value > 0 else "worse"
    if asked.margin is not None and _loss(found, asked.metric) < asked.margin:
        return "no slower" if is_time else "no worse"
    if asked.metric == "success" and found.differ < LEAST_DIFFERING:
        return "too few tasks differ"
    return "no difference shown"


def _loss(found: Difference, metric: Metric) -> float:
    """The most that the first may lose by its interval: points, or of working_s the share of more time."""
    return math.expm1(found.high) if metric == "working_s" else -found.low


def _not_passed(row: Compared, metric: Metric, margin: float) -> str | None:
    name = f"{shown(row.value)} against {shown(row.against)}"
    if row.difference is None:
        return f"{name}: no task is decided on both sides"
    loss = _loss(row.difference, metric)
    if loss >= margin:
        bad, amount = (
            ("slower", f"{loss * 100:.0f}% more time") if metric == "working_s" else ("worse", _lost(loss, metric))
        )
        kind = f"it is {bad}" if row.verdict == bad else "a loss is not excluded"
        return f"{name}: {kind} (by up to {amount})"
    if row.bounds is not None and -row.bounds[0] >= margin:
        return f"{name}: {row.undecided} undecided units could make it worse (by up to {_lost(-row.bounds[0], metric)})"
    return None


def _lost(loss: float, metric: Metric) -> str:
    return f"{loss:.3f}" if metric == "score" else f"{loss * 100:.1f} points"


def _measure(asked: CompareOptions) -> Callable[[UnitOutcome], float | None]:
    """The number that a unit counts with; None: it is undecided, or says nothing of this."""

    def measure(unit: UnitOutcome) -> float | None:
        found = judged(unit, asked.outcome)
        if asked.metric == "success":
            return found.rated
        if asked.metric == "score":
            return found.score
        ended = found.outcome.attempt if found.outcome is not None else None
        return math.log(ended.working_s) if ended and ended.status in FINAL and ended.working_s > 0 else None

    return measure


def _pairs(texts: Sequence[str], baseline: str | None, values: Sequence[Any]) -> Iterable[tuple[str, str]]:
    """Every value against the baseline; without one every value against those before it."""
    if baseline is None:
        return ((one, other) for other, one in itertools.combinations(texts, 2))
    base = next(text for text, value in zip(texts, values, strict=True) if _named(value, baseline))
    return ((text, base) for text in texts if text != base)


def _grouped(members: Sequence[Member], by: Sequence[str]) -> list[tuple[dict[str, Any], list[Member]]]:
    groups: dict[str, tuple[dict[str, Any], list[Member]]] = {}
    for member in members:
        group = {
            name: member.unit.type if name == "type" and name not in member.cell else member.cell.get(name)
            for name in by
        }
        groups.setdefault(canonical(group), (group, []))[1].append(member)
    return list(groups.values())


def _value(member: Member, factor: str) -> Any:
    found = member.value(factor)
    return member.unit.setup.worker if found is None and factor == "worker" else found


def _check(asked: CompareOptions, factors: Sequence[str], values: Sequence[Any]) -> None:
    found = []
    if not asked.factor:
        found.append(Mistake("‹factor›", "nothing is named to compare", f"use one of {', '.join(factors) or RUN}"))
    elif not values:
        there = f"use one of {', '.join(factors)}" if factors else "compare several runs with ‹factor› run"
        found.append(Mistake("‹factor›", f"there is no factor {shown(asked.factor)}", there))
    elif len(values) < 2:
        found.append(Mistake("‹factor›", f"{asked.factor} has one value: {shown(values[0])}", "name another factor"))
    elif asked.baseline is not None and not any(_named(value, asked.baseline) for value in values):
        known = ", ".join(map(plain, values))
        found.append(Mistake("‹baseline›", f"no cell has {shown(asked.baseline)}", f"use one of {known}"))
    found += [
        Mistake("‹by›", f"there is no factor {shown(name)}", f"use some of {', '.join([*factors, 'type'])}")
        for name in asked.by
        if name not in factors and name != "type"
    ]
    found += [Mistake("‹by›", f"{name} is what is compared", "omit it") for name in asked.by if name == asked.factor]
    if found:
        raise OptionsError(found)


def _named(value: Any, text: str) -> bool:
    return plain(value) == text
