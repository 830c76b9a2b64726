"""Turns of the lanes, across hosts: workers ask over their host's link, and the master's limiter alone gives them."""

from __future__ import annotations

import time

from prealloc.engines.hosts import wire
from prealloc.engines.hosts.roster import MOST_WORKERS, RemoteHost, Roster
from prealloc.engines.hosts.shared import Shared
from prealloc.lanes.limiter import AHEAD_S, Grant
from prealloc.model.document import Unreadable

MOST_TURNS = 100_000
"""That the workers of one host wait for or have: far more than agents ask for at once, and some 300 bytes each."""


class TurnsOfHosts:
    """A holder, at the master's limiter, is (host, what the host calls the worker)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    @property
    def has_waiting(self) -> bool:
        return self._shared.setup is not None and self._shared.setup.limiter.has_waiting

    def hear(self, host: RemoteHost, message: wire.Ask | wire.Done | wire.Leave) -> None:
        """Takes to the limiter what a worker says there.

        Raises Unreadable for a lane that is not the host's, and for more turns than workers wait for.
        """
        lanes = {given.job.lane for given in host.jobs.values()}
        holder, asker = (host.name, message.holder), (message.lane, message.holder)
        limiter = self._shared.session.limiter
        if isinstance(message, wire.Ask):
            if message.lane not in lanes:
                raise Unreadable(f"it asks for turns of lane {message.lane!r}, which none of its shards is on")
            host.asking[asker] += 1
            host.turns += 1
            if host.turns > MOST_TURNS or len(host.asking) > MOST_WORKERS:
                raise Unreadable(f"more than {MOST_TURNS} turns at once, or {MOST_WORKERS} workers that ask for some")
            limiter.ask(message.lane, holder, message.turn, message.tokens)
        elif asker not in host.asking:
            return
        elif isinstance(message, wire.Done):
            if limiter.done(message.lane, holder, message.turn, message.tokens, message.answer):
                host.asking[asker] -= 1
                host.turns -= 1
        else:
            host.turns -= host.asking.pop(asker)
            limiter.leave(message.lane, holder)

    def give(self) -> None:
        """Hands on the turns that the limiter gives."""
        given: dict[str, list[Grant[int]]] = {}
        for (name, holder), turn, at, late_s in self._shared.session.limiter.grants():
            given.setdefault(name, []).append(Grant(holder, turn, at, late_s))
        for name, turns in given.items():
            if (host := self._shared.roster.get(name)) is not None:
                host.say(wire.Go(tuple(turns)))

    def heed_the_way(self) -> None:
        """Has turns given as early as the longest way asks for."""
        # The way there and back, and a moment for each of the two that hand a turn on.
        ways_s = (host.beat.rtt_s or 0.0 for host in self._shared.roster.here if host.beat is not None)
        self._shared.session.limiter.ahead_s = 2 * AHEAD_S + 2 * max(ways_s, default=0.0)

    def leave(self, host: RemoteHost) -> None:
        """No worker of the host waits for a turn any more."""
        for lane, holder in host.asking:
            self._shared.session.limiter.leave(lane, (host.name, holder))
        host.asking.clear()
        host.turns = 0


def echo(roster: Roster, name: str, raw: bytes) -> bytes | None:
    """The answer to a beat, in the link's thread: how long it takes tells the clocks apart, which turns go by."""
    if b'["beat",' not in raw[:32]:
        return None
    now = time.monotonic()
    host = roster.get(name)
    try:
        beat = wire.read_frame(raw, wire.from_host).message
    except Unreadable:
        return None
    if host is None or not isinstance(beat, wire.Beat):
        return None
    return wire.frame(wire.Echo(beat.clock, now), seen=host.numbered.seen)
