"""What past units took: time, tokens and money, by model and type of task. Means: a plan takes the sum of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

Z = 1.959963984540054
"""Ranges are to hold the truth 95 times in 100, if tasks to come are like those of the past."""


class PastUnit(NamedTuple):
    """A unit that has ended. None: not known."""

    model: Any
    type: str
    task: str
    seconds: float | None
    """Working time of the attempt that counts."""
    tokens: int | None = None
    """Of all attempts."""
    dollars: float | None = None
    unpriced: int = 0
    """Tokens among them that have no price."""


class Taken(NamedTuple):
    """What a unit takes, over the tasks of the past: the mean of their means."""

    mean: float
    variance: float
    """Between tasks; 0 if there is one alone."""
    tasks: int

    def shifted(self, by: float) -> float:
        """The mean, so many standard errors away; never below 0."""
        return max(0.0, self.mean + by * math.sqrt(self.variance / self.tasks))


Group = tuple[str | None, str | None]
"""(model, type); None stands for any."""


class History:
    """What units of past runs took. `shift` moves all times by so many standard errors: the ends of a range."""

    def __init__(self, past: Iterable[PastUnit], *, shift: float = 0.0) -> None:
        self._past = [unit._replace(model=name_of(unit.model)) for unit in past]
        self._shift = shift
        self.models = frozenset(unit.model for unit in self._past)
        self.unpriced = frozenset(unit.model for unit in self._past if unit.unpriced)
        """Models of units with tokens that have no price."""
        self._seconds = _taken(self._past, lambda unit: unit.seconds)
        self._tokens = _taken(self._past, lambda unit: unit.tokens)
        self._dollars = _taken(self._past, lambda unit: unit.dollars)

    def __bool__(self) -> bool:
        return bool(self._past)

    def later(self, shift: float) -> History:
        """The same with its times moved."""
        return History(self._past, shift=shift)

    def seconds(self, model: Any, kind: str) -> float | None:
        """Of a unit: by model and type, else by model, by type, over all; None if there is no past at all."""
        name = name_of(model)
        for group in ((name, kind), (name, None), (None, kind), (None, None)):
            if group in self._seconds:
                return self._seconds[group].shifted(self._shift)
        return None

    def tokens(self, model: Any, kind: str) -> Taken | None:
        """Of a unit: by model and type, else by model. What another model used says nothing."""
        return _of_model(self._tokens, model, kind)

    def dollars(self, model: Any, kind: str) -> Taken | None:
        """Of a unit, likewise."""
        return _of_model(self._dollars, model, kind)


def name_of(model: Any) -> str:
    """A model as history knows it."""
    return model if isinstance(model, str) else repr(model)


def _of_model(taken: Mapping[Group, Taken], model: Any, kind: str) -> Taken | None:
    name = name_of(model)
    return taken.get((name, kind)) or taken.get((name, None))


def _taken(past: Iterable[PastUnit], value: Callable[[PastUnit], float | None]) -> dict[Group, Taken]:
    groups: dict[Group, dict[str, list[float]]] = {}
    for unit in past:
        if (number := value(unit)) is not None:
            for group in ((unit.model, unit.type), (unit.model, None), (None, unit.type), (None, None)):
                groups.setdefault(group, {}).setdefault(unit.task, []).append(number)
    return {group: _of_tasks(list(map(_mean, tasks.values()))) for group, tasks in groups.items()}


def _of_tasks(means: list[float]) -> Taken:
    mean = _mean(means)
    squares = math.fsum((each - mean) ** 2 for each in means)
    return Taken(mean, squares / (len(means) - 1) if len(means) > 1 else 0.0, len(means))


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values)


NO_PAST = History(())
