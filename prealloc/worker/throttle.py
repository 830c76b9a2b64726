"""A request's turn on the shard's lane."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from prealloc.model.outcome import Answer
from prealloc.worker.answer import answer_of
from prealloc.worker.clocks import AttemptClock
from prealloc.worker.turns import Turns


class Turn:
    """The right to send one request."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def used(self, tokens: int) -> None:
        """Says how many tokens the request really took, in place of the estimate."""
        self.tokens = tokens


class Throttle:
    """Waits for a turn; the wait is waiting time. An error that leaves the block tells the lane what the server said:
    after a 429 nobody of the lane sends before the server's pause is over.
    """

    def __init__(self, turns: Turns, clock: AttemptClock, tokens: int, answered: Callable[[Answer], None]) -> None:
        self._turns = turns
        self._clock = clock
        self._answered = answered
        self._turn = Turn(tokens)
        self._number = 0

    def __enter__(self) -> Turn:
        with self._clock.waiting():
            self._number = self._turns.wait(self._turn.tokens)
        return self._turn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answer = answer_of(error)
        self._turns.done(self._number, self._turn.tokens, answer)
        self._answered(answer)

    async def __aenter__(self) -> Turn:
        with self._clock.waiting():
            self._number = await self._turns.wait_async(self._turn.tokens)
        return self._turn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
