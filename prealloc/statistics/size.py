"""How many tasks it takes to show something, and what a number of tasks can show."""

from __future__ import annotations

import math

import msgspec

from prealloc.statistics.normal import z_of, z_of_power
from prealloc.statistics.rate import wilson

DIFFER = 0.25
"""The share of tasks on which two models differ, while nothing is known of them."""


def tasks_for_half_width(
    half_width: float, *, rate: float = 0.5, repeats: int = 1, icc: float = 1.0, level: float = 0.95
) -> int:
    """How many tasks give a rate's interval this half width: z^2 p(1-p) (icc + (1-icc)/k) / h^2."""
    z = z_of(level)
    return math.ceil(z * z * rate * (1 - rate) * (icc + (1 - icc) / repeats) / half_width**2)


def tasks_for_difference(difference: float, variance: float, *, level: float = 0.95, power: float = 0.8) -> int:
    """How many tasks show a difference of two cells on the same tasks, for a `variance` of its tasks' differences.

    Source: Miller 2024 (arXiv 2411.00640), n = (z_alpha/2 + z_power)^2 Var(d) / difference^2.
    """
    return math.ceil((z_of(level) + z_of_power(power)) ** 2 * variance / difference**2)


def difference_shown(tasks: int, variance: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The difference that so many tasks show, for that variance: the inverse of tasks_for_difference."""
    return (z_of(level) + z_of_power(power)) * math.sqrt(variance / tasks)


def variance_of_pairs(differ: float, difference: float) -> float:
    """The variance of a task's difference with one unit a task, where this share of tasks differs."""
    return differ - difference**2


def variance_with_repeats(between: float, within_first: float, within_second: float, repeats: int) -> float:
    """The same with repeats; `between` is the variance of the true differences of tasks."""
    return between + (within_first + within_second) / repeats


def shown_from(tasks: int, *, differ: float = DIFFER, level: float = 0.95, power: float = 0.8) -> float:
    """The difference that so many tasks with one unit each show, where this share of tasks differs.

    difference_shown(tasks, variance_of_pairs(differ, difference)) solved for the difference.
    """
    c = z_of(level) + z_of_power(power)
    return c * math.sqrt(differ / (tasks + c * c))


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of tasks can show, whatever comes out."""

    tasks: int
    half_width: float
    """Of a rate's interval, at a rate of one half: the widest."""
    shown_from: float
    """The difference of two cells on the same tasks that is found with 80% power, if a quarter of the tasks differ."""


def precision(tasks: int, *, level: float = 0.95) -> Precision:
    """The precision of a cell of so many tasks, one unit each."""
    low, high = wilson(0.5, tasks, z_of(level))
    return Precision(tasks=tasks, half_width=(high - low) / 2, shown_from=shown_from(tasks, level=level))
