"""What repeats of a task tell: pass@k, pass^k, and how much of the spread is within tasks."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from prealloc.statistics.rate import Tasks


def pass_at(k: int, n: int, successes: int) -> float:
    """The chance that at least one of k of a task's n repeats succeeds. Source: Chen et al. 2021 (Codex)."""
    return 1 - math.comb(n - successes, k) / math.comb(n, k)


def pass_hat(k: int, n: int, successes: int) -> float:
    """The chance that all of k of a task's n repeats succeed: pass^k. Source: Yao et al. 2024 (tau-bench)."""
    return math.comb(successes, k) / math.comb(n, k)


def each_task(measure: Callable[[int, int, int], float], k: int, tasks: Tasks) -> dict[str, list[float]]:
    """pass_at or pass_hat of every task that has at least k decided repeats: one value a task, for `mean`."""
    return {
        task: [measure(k, len(values), sum(1 for value in values if value))]
        for task, values in tasks.items()
        if len(values) >= k
    }


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How far the values of tasks lie apart, and those of one task."""

    within: float
    """The variance of one task's repeats."""
    between: float
    """The variance of the tasks' true rates."""

    @property
    def icc(self) -> float:
        """The share that is between tasks: 1 if repeats tell nothing new, 0 if tasks are all alike."""
        total = self.within + self.between
        return self.between / total if total > 0 else 1.0


def spread(tasks: Tasks) -> Spread | None:
    """The spread of success over tasks with k >= 2 repeats each; where their numbers differ, k is the harmonic mean.

    None if there are fewer than two such tasks. Source: one-way analysis of variance, Miller 2024.
    """
    rates = {task: values for task, values in tasks.items() if len(values) >= 2}
    if len(rates) < 2:
        return None
    means = [math.fsum(values) / len(values) for values in rates.values()]
    within = math.fsum(
        len(values) / (len(values) - 1) * p * (1 - p) for values, p in zip(rates.values(), means, strict=True)
    ) / len(means)
    middle = math.fsum(means) / len(means)
    variance = math.fsum((each - middle) ** 2 for each in means) / (len(means) - 1)
    k = len(means) / math.fsum(1 / len(values) for values in rates.values())
    return Spread(within=within, between=max(0.0, variance - within / k))
