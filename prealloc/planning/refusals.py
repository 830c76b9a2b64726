"""What cannot be planned from a library: every mistake at once, with the numbers and what would fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prealloc.errors import Mistake
from prealloc.model.plan_spec import PlanSpec

_NAMES_SHOWN = 20


def find_mistakes(spec: PlanSpec, there_are: Mapping[str, int], eligible: Mapping[str, int], n: int) -> list[Mistake]:
    """The mistakes of a spec for a library. Empty: the plan can be made.

    `there_are` is the number of tasks of each type in the library, `eligible` the part of it that the
    spec's types and quotas leave, `n` the tasks a shard takes (of each type, with per_type), or with
    num_instances_per_cell the cell.
    """
    if not there_are:
        return [Mistake("the task library", "it holds no task", "name a library that holds tasks")]
    found = _unknown_types(spec, there_are)
    if not eligible and not found:
        return [Mistake("‹types› and ‹quotas›", "no task is left", "ask for a task of some type")]
    if spec.quotas:
        return found + _quotas_too_large(spec, eligible)
    if spec.per_type:
        return found + _types_too_small(spec, eligible, n)
    if found:
        return found  # what is left depends on the type that was meant: a total would mislead
    return _shards_left_empty(spec, eligible) if spec.whole else _too_few(spec, eligible, n)


def _unknown_types(spec: PlanSpec, there_are: Mapping[str, int]) -> list[Mistake]:
    wheres = [("‹types›", name) for name in spec.types] + [(f"‹quotas› {name}", name) for name in spec.quotas]
    hint = f"the types there are: {_listed(sorted(there_are))}"
    return [
        Mistake(where, f"the library has no task of type {name!r}", hint)
        for where, name in wheres
        if name not in there_are
    ]


def _quotas_too_large(spec: PlanSpec, eligible: Mapping[str, int]) -> list[Mistake]:
    found = []
    for name, have in eligible.items():
        quota = spec.quotas[name]
        if _hands(spec) * quota > have:
            problem = f"{_asked(spec, quota)} of type {name} and there are {have}"
            found.append(Mistake(f"‹quotas› {name}", problem, _would_fit(spec, quota, have, "‹quotas› {}={}", name)))
    return found


def _types_too_small(spec: PlanSpec, eligible: Mapping[str, int], n: int) -> list[Mistake]:
    short = {name: have for name, have in eligible.items() if _hands(spec) * n > have}
    if not short:
        return []
    numbers = _listed([f"{name} has {have}" for name, have in short.items()])
    fit = _would_fit(spec, n, min(short.values()), "‹num_instances› {1}")
    return [Mistake("‹per_type›", f"{_asked(spec, n)} of each type; {numbers}", fit)]


def _too_few(spec: PlanSpec, eligible: Mapping[str, int], n: int) -> list[Mistake]:
    have = sum(eligible.values())
    asked = _hands(spec) * n
    if asked <= have:
        return []
    if spec.stratify:
        numbers = [f"{name} has {there} for {-(-asked * there // have)}" for name, there in eligible.items()]
    else:
        numbers = [f"{name} {there}" for name, there in eligible.items()]
    problem = f"{_asked(spec, n)} and there are {have} ({_listed(numbers)})"
    option = "‹num_instances›" if spec.num_instances_per_cell is None else "‹num_instances_per_cell›"
    return [Mistake(option, problem, _would_fit(spec, n, have, option + " {1}"))]


def _shards_left_empty(spec: PlanSpec, eligible: Mapping[str, int]) -> list[Mistake]:
    have = sum(eligible.values())
    if spec.strategy != "disjoint" or spec.shards <= have:
        return []
    problem = f"{have} tasks dealt to {spec.shards} shards leave {spec.shards - have} of them empty"
    return [Mistake("‹whole›", problem, f"what fits: ‹shards› {have}")]


def _hands(spec: PlanSpec) -> int:
    """How many shards must be served with tasks of their own. Otherwise each takes from the full library."""
    return spec.shards if spec.strategy == "disjoint" and spec.num_instances_per_cell is None else 1


def _asked(spec: PlanSpec, n: int) -> str:
    hands = _hands(spec)
    return f"{hands} shards x {n} = {hands * n} tasks are asked" if hands > 1 else f"{n} tasks are asked"


def _would_fit(spec: PlanSpec, n: int, have: int, option: str, name: str = "") -> str:
    """The largest n with these shards, and the most shards with this n; `have` is at least 1."""
    hands = _hands(spec)
    fits = []
    if have >= hands:
        largest = option.format(name, have // hands)
        fits.append(f"{largest} with {hands} shards" if hands > 1 else largest)
    if hands > 1 and have >= n:
        fits.append(f"‹shards› {have // n} with {option.format(name, n)}")
    if not fits:
        fits.append(f"‹shards› 1 with {option.format(name, have)}")
    return f"what fits: {', or '.join(fits)}"


def _listed(items: Iterable[str]) -> str:
    every: Sequence[str] = list(items)
    more = len(every) - _NAMES_SHOWN
    return ", ".join(every[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
