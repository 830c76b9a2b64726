"""What follows when the system starts no further process or thread: those that run go on; it is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable

from prealloc.errors import EngineError
from prealloc.files.atomic import MORE_PROCESSES
from prealloc.model.events import Event, Note

AGAIN_S = 1.0

_OR = f"{MORE_PROCESSES}, or give fewer"


class Refusals:
    """For how long the system has refused."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._since: float | None = None
        self._again_at: float | None = None
        self._reason = ""
        self._told = False

    def met(self, reason: str, running: int) -> list[Event]:
        """One was refused. Reported once a run: it may come and go with every worker that ends."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        self._again_at = now + AGAIN_S
        self._reason = reason
        if self._told:
            return []
        self._told = True
        waiting = f"{running} workers run, the others wait"
        return [Note(text=f"the system starts no further process or thread ({reason}): {waiting}; {_OR} workers")]

    def ask_again(self, at_work: Callable[[], bool]) -> bool:
        """Whether it is time to. Raises EngineError if the system has refused, and none worked, for too long."""
        if self._since is None:
            return False
        now = time.monotonic()
        if at_work():
            self._since = now
        elif now - self._since > self._most_s:
            raise EngineError(
                f"the system has started no worker for {self._most_s:g} s (‹start_s›): {self._reason}",
                hint=f"{_OR} ‹workers›; then `prealloc resume`",
            )
        if self._again_at is None or now < self._again_at:
            return False
        self._again_at = None
        return True
