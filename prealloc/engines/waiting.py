"""The units of a shard that no worker holds: where each of them waits, and how many may run at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from prealloc.engines.handover import Units, units_of
from prealloc.engines.worker_process import WorkerProcess
from prealloc.model.outcome import TOO_MANY_REQUESTS, Attempt
from prealloc.worker.job import Key, UnitOrder


class WaitingUnits:
    """Three queues; a unit is in one of them at most."""

    def __init__(self, units: Units, concurrency: int) -> None:
        alone = units.deaths
        self.pending = deque(order for order in units.orders if not alone or order.key not in alone)
        """They run together."""
        self.suspects = deque(order for order in units.orders if alone and order.key in alone)
        """Each runs alone in a worker of its own."""
        self.last: deque[UnitOrder] = deque()
        """Each runs alone, and no other worker of the run beside it."""
        self.most = concurrency
        """Tasks at once, all workers of the shard together, as far as memory goes."""
        self._narrowed: int | None = None
        """As many as there was memory for."""
        self._deaths = {key: count for key, count in alone.items() if count}
        """A unit that has killed a worker never again runs beside others, in another job either."""
        self._squeezed: set[Key] = set()
        """Units that the OOM killer has ended beside others."""

    @property
    def width(self) -> int:
        """Tasks at once, all workers of the shard together."""
        return self.most if self._narrowed is None else min(self.most, self._narrowed)

    def __bool__(self) -> bool:
        return bool(self.pending or self.suspects or self.last)

    def left(self) -> Units:
        """All of them, for another job."""
        return self.units(self.pending, (*self.suspects, *self.last))

    def units(self, together: Iterable[UnitOrder], alone: Sequence[UnitOrder] = ()) -> Units:
        """Units of these orders, with what is known of them."""
        suspects = {order.key: 0 for order in alone}
        return units_of((*together, *alone), suspects | self._deaths)

    def queue_of(self, worker: WorkerProcess) -> deque[UnitOrder]:
        """Where the units that have not begun in it wait for another one."""
        return self.last if worker.only else self.suspects if worker.solo else self.pending

    def squeeze(self, order: UnitOrder, *, alone: bool) -> None:
        """The OOM killer has ended it. One that was alone, or meets it again, may need more than there is."""
        key = order.key
        (self.last if alone or key in self._squeezed else self.pending).append(next_of(order))
        self._squeezed.add(key)

    def narrow(self, running: int) -> int | None:
        """There was not enough memory for `running` tasks at once. Gives the new width; None if it stays as it is."""
        width = min(self.width, (running + 1) // 2)
        if running < 2 or width == self.width:
            return None
        self._narrowed = width
        return width

    def widen(self) -> None:
        """As many run at once again as at first."""
        self._narrowed = None

    def count_death(self, key: Key) -> int:
        """A unit has killed a worker while alone in it. Gives how many times it has by now."""
        self._deaths[key] = self._deaths.get(key, 0) + 1
        return self._deaths[key]


def next_of(order: UnitOrder) -> UnitOrder:
    """The order for another attempt at the unit."""
    return order._replace(attempt=order.attempt + 1)


def after(order: UnitOrder, attempt: Attempt) -> UnitOrder:
    """The order for the next try at a unit that a server has turned away, or that has failed otherwise."""
    turned_away = attempt.error is not None and attempt.error.http_status == TOO_MANY_REQUESTS
    return order._replace(
        attempt=attempt.attempt + 1,
        tries=order.tries + (not turned_away),
        throttled=order.throttled + turned_away,
        waited_s=attempt.waiting_s,
    )
