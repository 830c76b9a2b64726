"""Units that change hands: what a job gives back, in the words of an engine to the master.

A job is what is left of a shard, launched once. The master decides what becomes of units that come back: they wait in
its queue, and are launched as another job of the same shard, on whatever lane or worker there is then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prealloc.model.events import AttemptEnded, Event
from prealloc.store.fold import Due
from prealloc.worker.job import Count, Key, UnitOrder


class Units(NamedTuple):
    """Units of a shard that nobody holds, in the order in which they start."""

    orders: tuple[UnitOrder, ...] = ()
    alone: tuple[tuple[Count, Count, Count], ...] = ()
    """(position, repeat, deaths) of those that ran in a worker when it died: each runs alone.

    `deaths` are the workers that it has killed while alone in them, in earlier sessions too.
    """
    due: tuple[Due, ...] = ()
    """Attempts at them to clean up after before anything runs: what earlier sessions or lost hosts have left."""

    @property
    def deaths(self) -> dict[Key, int]:
        """Of each unit that runs alone."""
        return {(position, repeat): deaths for position, repeat, deaths in self.alone}

    def with_more(self, more: Units) -> Units:
        """These and those, as the shard orders them."""
        both = sorted((*self.orders, *more.orders), key=_place)
        return Units(tuple(both), (*self.alone, *more.alone), (*self.due, *more.due))


def units_of(orders: Iterable[UnitOrder], alone: Mapping[Key, int]) -> Units:
    """The units of these orders, as the shard orders them. Those in `alone` run alone: see Units."""
    known = tuple(sorted(orders, key=_place))
    return Units(known, tuple((*order.key, alone[order.key]) for order in known if order.key in alone))


def _place(order: UnitOrder) -> tuple[int, int]:
    return order.repeat, order.position


class UnitsReturned(Event, frozen=True, kw_only=True, tag="units_returned"):
    """The answer to `hand_back`, or what a job gives up by itself: nothing of these units runs, or will, in the job."""

    job: int
    shard: str
    units: Units


class TurnedAway(Event, frozen=True, kw_only=True, tag="turned_away"):
    """An attempt has ended for its lane's sake, which says nothing of the task. The job gives its unit back later."""

    job: int
    ended: AttemptEnded


class JobEnded(Event, frozen=True, kw_only=True, tag="job_ended"):
    """Nothing more happens in a job. `left` are the units that it has not decided and has not given back."""

    job: int
    shard: str
    left: Units = Units()
