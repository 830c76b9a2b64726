"""What follows when the system starts no further process: those that run go on, and it is asked again now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from prealloc.errors import EngineError
from prealloc.model.events import Event, Note

AGAIN_S = 1.0

_MEND = "allow more processes (`ulimit -u`, the pids limit of the control group), or give fewer --workers"


class Refusals:
    """For how long the system has refused. `now` is for tests."""

    def __init__(self, most_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most_s = most_s
        self._now = now
        self._since: float | None = None
        self._again_at: float | None = None
        self._reason = ""
        self._told = False

    def met(self, reason: str, running: int) -> list[Event]:
        """A process was refused. Told once a run: it may come and go with every worker that ends."""
        now = self._now()
        self._since = self._since if self._since is not None else now
        self._again_at = now + AGAIN_S
        self._reason = reason
        if self._told:
            return []
        self._told = True
        text = f"the system starts no further process ({reason}): {running} run, the others wait; {_MEND}"
        return [Note(text=text)]

    def over(self) -> None:
        """A process was started."""
        self._since = None

    def ask_again(self, running: int) -> bool:
        """Whether it is time to. Raises EngineError if nothing has run for too long."""
        now = self._now()
        if running:
            self._since = None
        elif self._since is not None and now - self._since > self._most_s:
            raise EngineError(
                f"the system has started no process for {self._most_s:g} s (--start-timeout): {self._reason}",
                mend=f"{_MEND}; then `prealloc resume`",
            )
        if self._again_at is None or now < self._again_at:
            return False
        self._again_at = None
        return True
