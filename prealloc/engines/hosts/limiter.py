"""The limiter of lanes as a host has it: it asks the master, and turns come when they come.

Without a link no turn comes, so a limit holds by silence. Moments are in the master's clock; the host's own differs by
what the message with the shortest way has shown, which is wrong by half that way at most.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prealloc.engines.hosts.wire import Ask, Done, Leave, Message
from prealloc.engines.worker_process import WorkerProcess
from prealloc.lanes.limiter import AHEAD_S, Grant
from prealloc.model.outcome import Answer

_SOUND = 5
"""Answers until the shortest way is known."""
_SAMPLES = 60
"""Beats that the shortest way is sought among: clocks drift."""


class _Sample(NamedTuple):
    rtt_s: float
    ahead_s: float


class MasterClock:
    """What the master's monotonic clock is ahead of ours."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    def heard(self, sent: float, master: float, now: float) -> None:
        """An answer has come."""
        self._samples.append(_Sample(now - sent, master - (sent + now) / 2))

    @property
    def rtt_s(self) -> float | None:
        """What a message takes there and back, at the least."""
        return min(self._samples).rtt_s if self.is_sound else None

    @property
    def is_sound(self) -> bool:
        """It was asked often enough: one message alone may be late because a machine is busy."""
        return len(self._samples) >= _SOUND

    @property
    def ahead_s(self) -> float:
        return min(self._samples).ahead_s if self._samples else 0.0


class RemoteLimiter:
    """As Turns; `send` is for messages that must not be lost."""

    ahead_s = AHEAD_S
    has_waiting = False
    """Turns come with the link: nobody has to look for them."""

    def __init__(self, send: Callable[[Message], None], clock: MasterClock) -> None:
        self._send = send
        self._clock = clock
        self._numbers = itertools.count(1)
        self._ids: dict[WorkerProcess, int] = {}
        self._holders: dict[int, WorkerProcess] = {}
        self._given: list[Grant[WorkerProcess]] = []
        self._halted: dict[str, str] = {}
        self._refused: set[str] = set()

    @property
    def has_grants(self) -> bool:
        """Turns have come that `grants` has not given yet."""
        return bool(self._given)

    def ask(self, lane: str, holder: WorkerProcess, turn: int, tokens: int) -> None:
        if holder not in self._ids:
            number = self._ids[holder] = next(self._numbers)
            self._holders[number] = holder
        self._send(Ask(lane, self._ids[holder], turn, tokens))

    def come(self, turns: Iterable[Grant[int]]) -> None:
        """The master has given these."""
        ahead_s = self._clock.ahead_s
        for turn in turns:
            if (holder := self._holders.get(turn.holder)) is not None:
                self._given.append(Grant(holder, turn.turn, turn.at - ahead_s, turn.late_s))

    def grants(self) -> list[Grant[WorkerProcess]]:
        given, self._given = self._given, []
        return given

    def done(self, lane: str, holder: WorkerProcess, turn: int, tokens: int, answer: Answer) -> None:
        if holder in self._ids:
            self._send(Done(lane, self._ids[holder], turn, tokens, answer))

    def leave(self, lane: str, holder: WorkerProcess) -> None:
        if (number := self._ids.pop(holder, None)) is not None:
            del self._holders[number]
            self._given = [grant for grant in self._given if grant.holder is not holder]
            self._send(Leave(lane, number))

    def halt(self, lane: str, reason: str, *, key_refused: bool) -> None:
        """The master has halted a lane."""
        self._halted[lane] = reason
        if key_refused:
            self._refused.add(lane)

    def halted(self, lane: str) -> str | None:
        return self._halted.get(lane)

    def key_refused(self, lane: str) -> bool:
        return lane in self._refused

    def window_s(self, lane: str) -> float | None:
        """The master asks for it before it gives a shard."""
        return None

    def close(self) -> None:
        """The master does that."""
