"""A request's turn on the shard's lane."""

from __future__ import annotations

from types import TracebackType


class Turn:
    """The right to send one request."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def used(self, tokens: int) -> None:
        """Says how many tokens the request really took, in place of the estimate."""
        self.tokens = tokens


class Throttle:
    """Waits for a turn. A shard without a lane has no limit, and every turn comes at once."""

    def __init__(self, tokens: int) -> None:
        self._turn = Turn(tokens)

    def __enter__(self) -> Turn:
        return self._turn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def __aenter__(self) -> Turn:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
