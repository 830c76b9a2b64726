"""The difference of two cells: on the same tasks, or of two separate groups of units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import fmean

import msgspec

from prealloc.statistics.normal import t_of, z_of
from prealloc.statistics.rate import Tasks, wilson, with_undecided

MOST_STEPS = 100_000_000
"""Additions that an exact p may take, about half a second; beyond it is the t test's."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first minus the second over the tasks that both have values for."""

    tasks: int
    first: float
    second: float
    value: float
    low: float
    high: float
    level: float
    se: float
    p: float
    """Two-sided mid-p under random signs of the tasks' differences; of many tasks that of the t test."""
    p_exact: float
    """The same with the whole probability of what was seen: never too small, and often too large."""
    better: int
    """Tasks whose mean is higher in the first."""
    worse: int
    same: int

    @property
    def differ(self) -> int:
        """Tasks that tell the two apart."""
        return self.better + self.worse


def paired(
    first: Tasks, second: Tasks, *, level: float = 0.95, limits: tuple[float, float] | None = (-1.0, 1.0)
) -> Difference | None:
    """The mean over tasks of a task's difference, its interval and p. None if no task is decided on both sides.

    The interval is Newcombe's method 10 where every task's mean is 0 or 1; else Student's t on the tasks' differences,
    or, if these are all equal, their value plus and minus z^2 / (n + z^2). It is cut to `limits`: those of rates.
    p comes from all ways to give the differences their signs, by convolution: without repeats it is McNemar's mid-p.
    Sources: Newcombe 1998; Fagerland, Lydersen, Laake 2013; Miller 2024.
    """
    names = [task for task, values in first.items() if values and second.get(task)]
    if not names:
        return None
    one, other = ([fmean(side[task]) for task in names] for side in (first, second))
    d = [a - b for a, b in zip(one, other, strict=True)]
    n = len(d)
    value = math.fsum(d) / n
    exact = [_fraction(first[task]) - _fraction(second[task]) for task in names]
    equal = len(set(exact)) == 1
    se = 0.0 if equal else math.sqrt(math.fsum((each - value) ** 2 for each in d) / (n - 1) / n)
    if all(mean in (0, 1) for mean in (*one, *other)):
        pairs = list(zip(one, other, strict=True))
        both, first_only, second_only, neither = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
        low, high = newcombe(both, first_only, second_only, neither, level=level)
    else:
        z2 = z_of(level) ** 2
        half = z2 / (n + z2) if equal else t_of(level, n - 1) * se
        low, high = value - half, value + half
    if limits is not None:
        low, high = max(limits[0], low), min(limits[1], high)
    p, p_exact = _sign_flip(exact) or _t_test(value, se, n)
    return Difference(
        tasks=n,
        first=math.fsum(one) / n,
        second=math.fsum(other) / n,
        value=value,
        low=low,
        high=high,
        level=level,
        se=se,
        p=p,
        p_exact=p_exact,
        better=sum(each > 0 for each in exact),
        worse=sum(each < 0 for each in exact),
        same=sum(each == 0 for each in exact),
    )


def paired_bounds(
    first: Tasks, second: Tasks, undecided_first: Mapping[str, int], undecided_second: Mapping[str, int]
) -> tuple[float, float] | None:
    """The least and the greatest difference over all planned tasks, whatever becomes of the undecided units.

    They count against the first and for the second, then the other way round.
    """
    found = []
    for one, other in ((0.0, 1.0), (1.0, 0.0)):
        a, b = with_undecided(first, undecided_first, one), with_undecided(second, undecided_second, other)
        differences = [fmean(a[task]) - fmean(b[task]) for task in a if a[task] and b.get(task)]
        if not differences:
            return None
        found.append(math.fsum(differences) / len(differences))
    return found[0], found[1]


def newcombe(both: int, first_only: int, second_only: int, neither: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of (first_only - second_only) / n over pairs of 0 and 1: (low, high).

    Source: Newcombe 1998, Statistics in Medicine 17:2635, method 10: Wilson's limits of both rates, joined with the
    correlation of the pairs, which is corrected for continuity.
    """
    n = both + first_only + second_only + neither
    z = z_of(level)
    one, other = (both + first_only) / n, (both + second_only) / n
    (low1, high1), (low2, high2) = wilson(one, n, z), wilson(other, n, z)
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    excess = both * neither - first_only * second_only
    corrected = max(excess - n / 2, 0.0) if excess > 0 else float(excess)
    phi = corrected / math.sqrt(margins) if margins else 0.0
    difference = (first_only - second_only) / n

    def side(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    return difference - side(one - low1, high2 - other), difference + side(high1 - one, other - low2)


class Unpaired(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of the rates of two groups of units that have nothing to do with each other."""

    value: float
    low: float
    high: float
    p: float
    """Fisher's exact test, two-sided."""


def unpaired(successes: int, units: int, other_successes: int, other_units: int, *, level: float = 0.95) -> Unpaired:
    """The rate of the first group minus that of the second. Both have units.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10 (hybrid score); Fisher 1935.
    """
    from scipy.stats import fisher_exact

    z = z_of(level)
    one, other = successes / units, other_successes / other_units
    (low1, high1), (low2, high2) = wilson(one, units, z), wilson(other, other_units, z)
    table = [[successes, units - successes], [other_successes, other_units - other_successes]]
    return Unpaired(
        value=one - other,
        low=one - other - math.hypot(one - low1, high2 - other),
        high=one - other + math.hypot(high1 - one, other - low2),
        p=float(fisher_exact(table).pvalue),
    )


def _fraction(values: Sequence[float]) -> Fraction:
    if all(value in (0, 1) for value in values):
        return Fraction(int(sum(values)), len(values))
    return sum(map(Fraction, values), Fraction()) / len(values)


def _sign_flip(d: Sequence[Fraction]) -> tuple[float, float] | None:
    """(mid-p, exact p) of the sum under random signs; None if it would take too long.

    The differences are made whole numbers; the chance of every sum is then built up, one difference after the other.
    """
    scale = math.lcm(*(each.denominator for each in d))
    whole = [int(abs(each) * scale) for each in d if each]
    if not whole:
        return 1.0, 1.0
    if sum(whole) * len(whole) > MOST_STEPS:
        return None
    import numpy as np

    total = sum(whole)
    chance = np.zeros(2 * total + 1)  # of the sums -total to total
    chance[total] = 1.0
    reached = 0
    for each in whole:
        now = chance[total - reached : total + reached + 1] / 2
        reached += each
        chance[total - reached : total + reached + 1] = 0.0
        chance[total - reached : total - reached + len(now)] += now
        chance[total + reached - len(now) + 1 : total + reached + 1] += now
    seen = abs(int(sum(d, Fraction()) * scale))
    if seen == 0:
        return 1.0 - float(chance[total]) / 2, 1.0
    beyond = 2 * float(chance[total + seen + 1 :].sum())
    at = 2 * float(chance[total + seen])
    return beyond + at / 2, min(1.0, beyond + at)


def _t_test(value: float, se: float, n: int) -> tuple[float, float]:
    from scipy.special import stdtr

    if se == 0:
        return (1.0, 1.0) if value == 0 else (0.0, 0.0)
    p = 2 * float(stdtr(n - 1, -abs(value / se)))
    return p, p
