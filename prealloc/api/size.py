"""size(): how many tasks show what, before any money is spent."""

from __future__ import annotations

from typing import Unpack

from prealloc.errors import Mistake, OptionsError
from prealloc.model.options import read_keywords
from prealloc.model.size import Size, SizeKeywords, SizeOptions, Sizes
from prealloc.statistics.size import (
    tasks_for_difference,
    tasks_for_half_width,
    variance_of_pairs,
)

REPEATS = (1, 2, 3, 5)
"""What is shown beside each other."""


def size(**options: Unpack[SizeKeywords]) -> Sizes:
    """How many tasks a cell needs, for a rate as exact as `half_width` or to find a `difference` of two cells.

    The cells have the same tasks. Shares may be texts: "5%". Raises OptionsError with every mistake.

    size(half_width="5%")
    size(difference="5%", differ="15%", repeats=3)
    """
    found: list[Mistake] = []
    asked = read_keywords(SizeOptions, options, found)
    if not found and (asked.half_width is None) == (asked.difference is None):
        problem = "neither is given" if asked.half_width is None else "both are given"
        found.append(Mistake("‹half_width›, ‹difference›", problem, "ask for one of them"))
    if not found and asked.difference is not None and asked.difference**2 >= asked.differ:
        problem = f"the cells cannot differ by {asked.difference:.0%} if only {asked.differ:.0%} of the tasks differ"
        found.append(Mistake("‹difference›", problem, "raise ‹differ›, or ask for a smaller difference"))
    if found:
        raise OptionsError(found)
    repeats = REPEATS if asked.repeats is None else (asked.repeats,)
    tasks = [(k, _tasks(asked, k)) for k in repeats]
    return Sizes(asked=asked, sizes=tuple(Size(repeats=k, tasks=n, units=n * k) for k, n in tasks))


def _tasks(asked: SizeOptions, repeats: int) -> int:
    if asked.half_width is not None:
        return tasks_for_half_width(
            asked.half_width, rate=asked.rate, repeats=repeats, icc=asked.icc, level=asked.level
        )
    difference = asked.difference or 0.0
    once = variance_of_pairs(asked.differ, difference)
    variance = once * (asked.icc + (1 - asked.icc) / repeats)
    return tasks_for_difference(difference, variance, level=asked.level, power=asked.power)
