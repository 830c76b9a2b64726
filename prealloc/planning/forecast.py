"""What a plan will use, by what past runs used: tokens and money, by model and lane, with a range.

For a type of task with mean m and variance v over T tasks of the past, N units of n tasks take N m, give or take
z N sqrt(v (1/T + 1/n)): T tasks have told the mean, and n others are to come. Types are different tasks, so their
variances add up. Models get the same tasks, which are dear for all of them or for none: there the halves of ranges do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from prealloc.planning.estimate import ShardLoad
from prealloc.planning.history import History, Taken, Z, name_of


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A sum, and what it lies between 95 times in 100."""

    mean: float
    low: float
    high: float


class ModelForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the units of one model will use. None: the past does not say."""

    model: str
    units: int
    known: bool
    """There are units of this model in the past."""
    tokens: Range | None
    dollars: Range | None


class LaneForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The same of a lane, as far as the past knows its models."""

    lane: str | None
    units: int
    tokens: Range | None
    dollars: Range | None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan will use, as far as the past says; see `no_history` and `unpriced` for what is missing in sums."""

    models: tuple[ModelForecast, ...]
    lanes: tuple[LaneForecast, ...]
    tokens: Range | None
    dollars: Range | None
    no_history: tuple[str, ...]
    """Models of which the past has no unit."""
    unpriced: tuple[str, ...]
    """Models with tokens that have no price: more will be spent than `dollars`."""


def forecast(loads: Sequence[ShardLoad], history: History, *, repeats: int = 1) -> Forecast:
    """The forecast of these shards, whose tasks run so often."""
    models = list(dict.fromkeys(name_of(load.model) for load in loads))
    lanes = list(dict.fromkeys(load.lane for load in loads))
    tasks = _tasks(loads, repeats)

    def of(chosen: Callable[[ShardLoad], bool]) -> dict[str, Any]:
        mine = [load for load in loads if chosen(load)]
        units = sum(sum(load.units.values()) for load in mine)
        tokens, dollars = (_sum_of(mine, taken, tasks) for taken in (history.tokens, history.dollars))
        return {"units": units, "tokens": tokens, "dollars": dollars}

    whole = of(lambda load: True)
    return Forecast(
        models=tuple(
            ModelForecast(model=name, known=name in history.models, **of(lambda load, n=name: name_of(load.model) == n))  # type: ignore[misc]
            for name in models
        ),
        lanes=tuple(LaneForecast(lane=name, **of(lambda load, n=name: load.lane == n)) for name in lanes),  # type: ignore[misc]
        tokens=whole["tokens"],
        dollars=whole["dollars"],
        no_history=tuple(name for name in models if name not in history.models),
        unpriced=tuple(name for name in models if name in history.unpriced),
    )


def _sum_of(
    loads: Iterable[ShardLoad], taken: Callable[[Any, str], Taken | None], tasks: Mapping[str, int]
) -> Range | None:
    """What the units of these shards will take; None if nothing is known of any. `tasks`: different ones, by type."""
    units: dict[str, Counter[str]] = {}
    for load in loads:
        units.setdefault(name_of(load.model), Counter()).update(load.units)
    total, half, is_known = 0.0, 0.0, False
    for model, kinds in units.items():
        spread = 0.0
        for kind, count in kinds.items():
            if (each := taken(model, kind)) is not None:
                is_known = True
                total += count * each.mean
                spread += count**2 * each.variance * (1 / each.tasks + 1 / max(1, tasks.get(kind, count)))
        half += Z * math.sqrt(spread)
    return Range(mean=total, low=max(0.0, total - half), high=total + half) if is_known else None


def _tasks(loads: Iterable[ShardLoad], repeats: int) -> dict[str, int]:
    """How many different tasks of each type there are: as many as the cell has that has most of them."""
    cells: dict[bytes, Counter[str]] = {}
    for load in loads:
        mine = cells.setdefault(msgspec.json.encode(load.cell, order="sorted"), Counter())
        mine.update({kind: count // repeats for kind, count in load.units.items()})
    found: Counter[str] = Counter()
    for each in cells.values():
        found |= each
    return found
