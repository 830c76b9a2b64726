"""A request's turn on the shard's lane."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from numbers import Number
from types import TracebackType
from typing import Any

from prealloc.model.outcome import Answer
from prealloc.model.usage import Tokens
from prealloc.model.words import shown
from prealloc.worker.answer import answer_of
from prealloc.worker.clocks import AttemptClock
from prealloc.worker.limiter import LimiterClient
from prealloc.worker.meter import Meter, read_usage

MOST_TOKENS = 1_000_000_000
"""Of one request."""


class Turn:
    """The right to send one request."""

    def __init__(self, estimate: int) -> None:
        self._estimate = estimate
        self._tokens = estimate
        self.told: tuple[Tokens, str | None] | None = None
        """What the request has used, and the model that was named for it."""

    @property
    def tokens(self) -> int:
        """What the request takes, as far as that is known."""
        return self._tokens

    def used(self, tokens: float | Mapping[str, Any] | Any, *, model: str | None = None) -> None:
        """Says how many tokens the request really took, in place of the estimate. None: that is not known.

        A number in all; or, so that it can be priced, what the API says of them, such as `answer.usage` of OpenAI's or
        Anthropic's client, or {"input": 900, "output": 120, "cache_read": 0, "cache_write": 0}. They are counted for
        the `model` of the settings, unless another is named. Raises ValueError if it is not a number of tokens.
        """
        if tokens is None or isinstance(tokens, Number):
            self._tokens = read_tokens("turn.used", tokens, self._estimate)
        self.told = None if tokens is None else (read_usage("turn.used", tokens, model), model)
        if self.told is not None:
            self._tokens = min(self.told[0].total, MOST_TOKENS)


def read_tokens(call: str, tokens: Any, unknown: int) -> int:
    """A number of tokens that a task has given in a call: rounded up; `unknown` for None. Raises ValueError."""
    if tokens is None:
        return unknown
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):  # complex numbers, NaN, infinity
        is_number = isinstance(tokens, Number) and not isinstance(tokens, bool)
        if is_number and 0 <= tokens <= MOST_TOKENS:
            whole: int = math.ceil(tokens)
            return whole
    raise ValueError(
        f"{call}({shown(tokens)}): that is not a number of tokens; give 0 to {MOST_TOKENS:,}, or None for unknown"
    )


class Throttle:
    """Waits for a turn, which without a limiter comes at once; the wait is waiting time.

    An error that leaves the block tells the lane what the server said: after a 429 no request of the lane goes before
    the server's pause is over.
    """

    def __init__(
        self,
        limiter: LimiterClient | None,
        clock: AttemptClock,
        tokens: int,
        answered: Callable[[Answer], None],
        meter: Meter,
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._meter = meter
        self._answered = answered
        self._turn = Turn(tokens)
        self._number = 0

    def __enter__(self) -> Turn:
        if self._limiter is not None:
            with self._clock.waiting():
                self._number = self._limiter.wait(self._turn.tokens)
        return self._turn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answer = answer_of(error)
        try:
            if self._turn.told is not None:
                self._meter.add(*self._turn.told)
        finally:
            if self._limiter is not None:
                self._limiter.done(self._number, self._turn.tokens, answer)
            self._answered(answer)

    async def __aenter__(self) -> Turn:
        if self._limiter is not None:
            with self._clock.waiting():
                self._number = await self._limiter.wait_async(self._turn.tokens)
        return self._turn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
