"""size(): how many tasks show what, before any money is spent."""

from __future__ import annotations

from typing import Unpack

import msgspec

from prealloc.api.compare import members_of
from prealloc.api.located import located
from prealloc.errors import Mistake, OptionsError, refuse
from prealloc.model.keywords import SizeKeywords
from prealloc.model.options import read_keywords
from prealloc.model.size import Known, Size, SizeOptions, Sizes
from prealloc.model.words import shown
from prealloc.statistics.size import (
    tasks_for_difference,
    tasks_for_half_width,
    variance_of_pairs,
)
from prealloc.store.known import factors_of, known_of_difference, known_of_rate

REPEATS = (1, 2, 3, 5)
"""What is shown beside each other."""


def size(**options: Unpack[SizeKeywords]) -> Sizes:
    """How many tasks a cell needs, for a rate as exact as `half_width` or to find a `difference` of two cells.

    The cells have the same tasks. Shares may be texts: "5%". What is not known may be taken from a run or an
    experiment. Raises OptionsError with every mistake, and what outcomes() raises.

    size(half_width="5%")
    size(difference="5%", differ="15%", repeats=3)
    size(difference="5%", from_run="run/", factor="model")
    """
    found: list[Mistake] = []
    asked = read_keywords(SizeOptions, options, found)
    if not found and (asked.half_width is None) == (asked.difference is None):
        problem = "neither is given" if asked.half_width is None else "both are given"
        found.append(Mistake("‹half_width›, ‹difference›", problem, "ask for one of them"))
    if asked.factor is not None and (asked.from_run is None or asked.difference is None):
        found.append(
            Mistake("‹factor›", "it says which values of a run are compared", "add ‹from_run› and ‹difference›")
        )
    known = None
    if not found and asked.from_run is not None:
        known = _known(asked, asked.from_run)
        taken = {name: getattr(known, name) for name in ("rate", "differ", "icc")}
        new = {name: value for name, value in taken.items() if value is not None and options.get(name) is None}
        asked = msgspec.structs.replace(asked, **new)
    if not found and asked.difference is not None and asked.difference**2 >= asked.differ:
        problem = f"the cells cannot differ by {asked.difference:.0%} if only {asked.differ:.0%} of the tasks differ"
        found.append(Mistake("‹difference›", problem, "raise ‹differ›, or ask for a smaller difference"))
    refuse(found)
    repeats = REPEATS if asked.repeats is None else (asked.repeats,)
    tasks = [(k, _tasks(asked, k)) for k in repeats]
    return Sizes(asked=asked, sizes=tuple(Size(repeats=k, tasks=n, units=n * k) for k, n in tasks), known=known)


def _known(asked: SizeOptions, run: str) -> Known:
    """What the run says. Raises OptionsError if that is of no use, and what outcomes() raises."""
    members = list(members_of(located(run), run, named=False))
    if asked.difference is None:
        known, what = known_of_rate(members), "rate"
        problem = None if known is not None else "no unit of it says success"
        if known is not None and known.rate in (0.0, 1.0):
            problem = f"all of its units have {'failed' if known.rate == 0 else 'succeeded'}"
    else:
        factor, what = asked.factor or next(iter(factors_of(members)), None), "differ"
        known = None if factor is None else known_of_difference(members, factor)
        problem = None
        if factor is None:
            problem = "nothing in it has several values"
        elif known is None:
            problem = f"no task is decided for two values of {shown(factor)}"
        else:
            known = msgspec.structs.replace(known, factor=factor)
            problem = "no task tells two values apart" if known.differ == 0 else None
    if known is None or problem is not None:
        raise OptionsError([Mistake("‹from_run›", f"{run}: {problem}", f"omit it, and give ‹{what}›")])
    return known


def _tasks(asked: SizeOptions, repeats: int) -> int:
    if asked.half_width is not None:
        return tasks_for_half_width(
            asked.half_width, rate=asked.rate, repeats=repeats, icc=asked.icc, level=asked.level
        )
    difference = asked.difference or 0.0
    once = variance_of_pairs(asked.differ, difference)
    variance = once * (asked.icc + (1 - asked.icc) / repeats)
    return tasks_for_difference(difference, variance, level=asked.level, power=asked.power)
