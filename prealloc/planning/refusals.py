"""What cannot be planned from a library: every mistake at once, with the numbers and what would fit."""

from __future__ import annotations

from collections.abc import Mapping

from prealloc.errors import Mistake
from prealloc.model.amount import All, PerType, Quotas, Tasks
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.words import listed

_NAMES_SHOWN = 20


def find_mistakes(spec: PlanSpec, available: Mapping[str, int], eligible: Mapping[str, int]) -> list[Mistake]:
    """The mistakes of a spec for a library. Empty: the plan can be made.

    `available` is the number of tasks of each type in the library, `eligible` the part of it that the
    spec's types and quotas leave.
    """
    if not available:
        return [Mistake("the task library", "it holds no task", "name a library that holds tasks")]
    found = _unknown_types(spec, available)
    if not eligible and not found:
        return [Mistake("‹types› and ‹quotas›", "no task is left", "ask for a task of some type")]
    match spec.amount.what:
        case Quotas(quotas):
            return found + _quotas_too_large(spec, quotas, eligible)
        case PerType(n) if too_small := _types_too_small(spec, eligible, n):
            return found + too_small
        case _ if found:
            return found  # what is left depends on the type that was meant: a total would mislead
        case PerType(n):
            return _shards_left_empty(spec, n * len(eligible) * spec.hands(spec.shards))
        case Tasks(n):
            return _too_few(spec, eligible, n)
        case All():
            return _shards_left_empty(spec, sum(eligible.values()))


def _unknown_types(spec: PlanSpec, available: Mapping[str, int]) -> list[Mistake]:
    wheres = [("‹types›", name) for name in spec.types] + [(f"‹quotas› {name}", name) for name in spec.quotas]
    hint = f"the types there are: {listed(sorted(available), _NAMES_SHOWN)}"
    return [
        Mistake(where, f"the library has no task of type {name!r}", hint)
        for where, name in wheres
        if name not in available
    ]


def _quotas_too_large(spec: PlanSpec, quotas: Mapping[str, int], eligible: Mapping[str, int]) -> list[Mistake]:
    found = []
    for name, have in eligible.items():
        quota = quotas[name]
        if spec.hands(spec.shards) * quota > have:
            problem = f"{_asked(spec, quota, f' of type {name}')}, but there are {have}"
            found.append(Mistake(f"‹quotas› {name}", problem, _would_fit(spec, quota, have, "‹quotas› {}={}", name)))
    return found


def _types_too_small(spec: PlanSpec, eligible: Mapping[str, int], n: int) -> list[Mistake]:
    short = {name: have for name, have in eligible.items() if spec.hands(spec.shards) * n > have}
    if not short:
        return []
    numbers = listed((f"{name} has {have}" for name, have in short.items()), _NAMES_SHOWN)
    fit = _would_fit(spec, n, min(short.values()), "‹num_instances› {1}")
    return [Mistake("‹per_type›", f"{_asked(spec, n, ' of each type')}, but {numbers}", fit)]


def _too_few(spec: PlanSpec, eligible: Mapping[str, int], n: int) -> list[Mistake]:
    have = sum(eligible.values())
    asked = spec.hands(spec.shards) * n
    if asked <= have:
        return []
    if spec.stratify:
        numbers = [f"{name} has {there} for {-(-asked * there // have)}" for name, there in eligible.items()]
    else:
        numbers = [f"{name} {there}" for name, there in eligible.items()]
    problem = f"{_asked(spec, n)}, but there are {have} ({listed(numbers, _NAMES_SHOWN)})"
    option = "‹num_instances›" if spec.num_instances_per_cell is None else "‹num_instances_per_cell›"
    return [Mistake(option, problem, _would_fit(spec, n, have, option + " {1}"))]


def _shards_left_empty(spec: PlanSpec, have: int) -> list[Mistake]:
    if spec.strategy != "disjoint" or spec.shards <= have:
        return []
    problem = f"{have} tasks dealt to {spec.shards} shards leave {spec.shards - have} of them empty"
    if spec.per_type:
        hint = "ask for more of each type, or name the types with ‹types›: then no more lanes are used than needed"
        return [Mistake("‹per_type›", problem, hint)]
    hint = f"omit ‹per_cell›, with ‹shards› {have} or less" if spec.amount.per_cell else f"what fits: ‹shards› {have}"
    return [Mistake("‹whole›", problem, hint)]


def _asked(spec: PlanSpec, n: int, which: str = "") -> str:
    hands = spec.hands(spec.shards)
    sum_of = f"{hands} shards x {n} = " if hands > 1 else ""
    return f"{sum_of}{hands * n} tasks{which} are asked for"


def _would_fit(spec: PlanSpec, n: int, have: int, option: str, name: str = "") -> str:
    """The largest n with these shards, and the most shards with this n; `have` is at least 1."""
    hands = spec.hands(spec.shards)
    fits = []
    if have >= hands:
        largest = option.format(name, have // hands)
        fits.append(f"{largest} with {hands} shards" if hands > 1 else largest)
    if hands > 1 and have >= n:
        fits.append(f"‹shards› {have // n} with {option.format(name, n)}")
    if not fits:
        fits.append(f"‹shards› 1 with {option.format(name, have)}")
    return f"what fits: {', or '.join(fits)}"
