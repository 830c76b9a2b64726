"""One rate or mean over tasks, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from prealloc.statistics.normal import t_of, z_of

Tasks = Mapping[str, Sequence[float]]
"""The values of every task that has some: 0 or 1 for success, any number for a score. One for each decided unit."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate or a mean over tasks, and the interval that holds the true one at a level."""

    tasks: int
    units: int
    value: float
    low: float
    high: float
    se: float
    """The standard error, clustered by task."""
    n_eff: float
    """As many independent units would tell as much."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a rate over all planned units can be, whatever becomes of those that are undecided."""

    worst: float
    """None of the undecided units succeeds."""
    best: float
    """All of them do."""
    worst_low: float
    """The lower limit of the worst case."""
    best_high: float
    """The upper limit of the best case."""


def wilson(rate: float, n: float, critical: float) -> tuple[float, float]:
    """Wilson's score interval of a rate over `n` units: (low, high), within 0 and 1.

    `critical` is the quantile: 1.96 for 95%. Source: Wilson 1927; Brown, Cai, DasGupta 2001 recommend it for small n.
    """
    z2 = critical * critical
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = critical * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if rate == 0.0 else max(0.0, middle - half)
    high = 1.0 if rate == 1.0 else min(1.0, middle + half)
    return low, high


def rate(tasks: Tasks, *, level: float = 0.95) -> Estimate | None:
    """The rate of successes over the units of these tasks, whose values are 0 or 1. None without a unit.

    Wilson's interval with the effective number of units n_eff = p(1-p)/v, where v is the variance clustered by task,
    and a t quantile of C-1 degrees of freedom for C tasks (Korn and Graubard 1998; Franco et al. 2019). Where p or v
    leave that open, n_eff is C. Where every task says one thing only, and as often as the others, it is plain Wilson
    over the tasks. To give every unit once more changes nothing. One task that contradicts itself says nothing of
    others: its interval is 0 to 1.
    """
    counts = [(sum(1 for value in values if value), len(values)) for values in tasks.values() if values]
    if not counts:
        return None
    clusters, units = len(counts), sum(n for _, n in counts)
    p = sum(successes for successes, _ in counts) / units
    spread = sum((successes - p * n) ** 2 for successes, n in counts)
    v = clusters / (clusters - 1) * spread / units**2 if clusters > 1 else 0.0
    # Every outcome that comes g times in each task counts as one: a copy of a unit adds nothing.
    g = math.gcd(*(count for successes, n in counts for count in (successes, n - successes)))
    if all(n == g for _, n in counts):
        n_eff, (low, high) = float(clusters), wilson(p, clusters, z_of(level))
    elif clusters == 1:
        n_eff, (low, high) = 1.0, (0.0, 1.0)
    else:
        n_eff = min(p * (1 - p) / v, units / g) if 0 < p < 1 and v > 0 else float(clusters)
        low, high = wilson(p, n_eff, t_of(level, clusters - 1))
    return Estimate(tasks=clusters, units=units, value=p, low=low, high=high, se=math.sqrt(v), n_eff=n_eff)


def mean(tasks: Tasks, *, level: float = 0.95) -> Estimate | None:
    """The mean of the tasks' means, with a t interval over tasks. None without a value.

    One task alone tells nothing of others: its interval is infinite.
    """
    means = [math.fsum(values) / len(values) for values in tasks.values() if values]
    if not means:
        return None
    n, units = len(means), sum(map(len, tasks.values()))
    middle = math.fsum(means) / n
    se, half = 0.0, math.inf
    if n > 1:
        se = math.sqrt(math.fsum((each - middle) ** 2 for each in means) / (n - 1) / n)
        half = t_of(level, n - 1) * se
    return Estimate(tasks=n, units=units, value=middle, low=middle - half, high=middle + half, se=se, n_eff=n)


def with_undecided(tasks: Tasks, undecided: Mapping[str, int], value: float) -> dict[str, list[float]]:
    """The tasks as they are if each undecided unit comes to this value."""
    names = dict.fromkeys((*tasks, *undecided))
    return {name: [*tasks.get(name, ()), *[value] * undecided.get(name, 0)] for name in names}


def bounds(tasks: Tasks, undecided: Mapping[str, int], *, level: float = 0.95) -> Bounds | None:
    """The bounds of a rate, where `undecided` has the number of undecided units by task. None without a unit.

    Source: Manski 2003, without assumptions on what is missing.
    """
    worst, best = (rate(with_undecided(tasks, undecided, value), level=level) for value in (0.0, 1.0))
    if worst is None or best is None:
        return None
    return Bounds(worst=worst.value, best=best.value, worst_low=worst.low, best_high=best.high)
