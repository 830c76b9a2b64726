"""Limits of a whole run, --max-time, --max-failures and --max-cost: when no further task starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from prealloc.model.events import AttemptEnded, Event, WorkerLost
from prealloc.model.options import Dollars, Seconds, share_of
from prealloc.model.outcome import Status
from prealloc.model.policy import RunPolicy
from prealloc.model.prices import Prices, most_of
from prealloc.model.usage import Usage, added

LEAST_ENDED = 20
"""Units that must have ended before a share of them says anything."""


class RunLimits:
    """Counts what has ended in this session. `now` is time.monotonic, or a test's clock."""

    def __init__(self, policy: RunPolicy, began: float, now: Callable[[], float]) -> None:
        self._most_s = policy.max_time_s
        self._most_failures = policy.max_failures
        self._share = share_of(policy.max_failures)
        self._began = began
        self._now = now
        self._ended: Counter[Status] = Counter()
        self._most_cost = policy.max_cost
        self._prices: Prices = {}
        self._used: Usage | None = None
        """By all attempts of the run."""
        self._noted = False

    def spend_within(self, prices: Prices, used: Usage | None) -> None:
        """What tokens cost, and what earlier sessions have used."""
        self._prices, self._used = prices, used

    def count(self, event: Event) -> None:
        """Takes the end of an attempt in. One that is tried again, or was stopped, has not failed yet."""
        if self._most_cost is not None and isinstance(event, AttemptEnded | WorkerLost) and event.usage is not None:
            self._used = added((self._used, event.usage))
        if isinstance(event, AttemptEnded) and event.outcome and event.status is not Status.CANCELLED:
            self._ended[event.status] += 1

    def reached(self) -> str | None:
        """The limit that is reached, as a sentence; None: none is."""
        if self._most_s is not None and self._now() - self._began >= self._most_s:
            return f"max-time {Seconds().write(self._most_s)} is over"
        if self._most_cost is not None and (reason := over_cost(self._most_cost, self._used, self._prices)) is not None:
            return reason
        ended = self._ended.total()
        failures = ended - self._ended[Status.OK]
        if self._most_failures is None or not failures:
            return None
        if self._share is None:
            over = isinstance(self._most_failures, int) and failures >= self._most_failures
        else:
            over = ended >= LEAST_ENDED and failures / ended >= self._share
        if not over:
            return None
        kinds = ", ".join(
            f"{self._ended[status]} {status}" for status in Status if status is not Status.OK and self._ended[status]
        )
        return f"{failures} of the {ended} units that ended are not ok ({kinds}), max-failures is {self._most_failures}"

    def note(self) -> str | None:
        """What the user should know, once: a limit of money is not kept where nobody says what was used."""
        if self._noted or self._most_cost is None or self._used is not None or self._ended.total() < LEAST_ENDED:
            return None
        self._noted = True
        ended = f"{self._ended.total()} units have ended and none has said what tokens it used"
        return f"{ended}, so max-cost cannot be kept: call turn.used(...) or ctx.usage(...)"


def over_cost(most: float, used: Usage | None, prices: Prices) -> str | None:
    """Why a run that has used so much may start nothing more; None if it may."""
    limit, (dollars, unpriced) = Dollars().write(most), most_of(used, prices)
    if unpriced:
        models = ", ".join(model for model in used or {} if model not in prices)
        return f"{unpriced:,} tokens of {models} have no price, so max-cost {limit} cannot be kept"
    if dollars is not None and dollars >= most:
        return f"max-cost {limit} is reached: ${dollars:,.2f} so far; what runs may add to it"
    return None
