"""Who is lost, and what a loss means: the host's name is closed, and what it had not decided runs elsewhere.

A lost host is nobody's fault. But hosts that are lost again and again on the same shard may be a unit's, and those that
are lost before they decide anything are the engine's.
"""

from __future__ import annotations

import math
import time
from collections import Counter

from prealloc.engines.handover import JobEnded
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.entrance import Entrance
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.link import Link
from prealloc.engines.hosts.providers.messages import Busy, Gone, News, ProviderLost
from prealloc.engines.hosts.replica import Replica
from prealloc.engines.hosts.roster import Given, RemoteHost, Stage
from prealloc.engines.hosts.shared import Shared
from prealloc.engines.hosts.turns import TurnsOfHosts
from prealloc.errors import CannotGoOn, EngineError, PreallocError
from prealloc.model.events import AttemptEnded, HostLost, Note, WorkerGone
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.model.policy import SOLO_DEATHS
from prealloc.store.journal_lines import AttemptLine, AttemptLost, SoloDeath
from prealloc.worker.job import Key, UnitOrder

PATIENCE = 1.5
"""A host is lost after so many leases without a word: it has ended itself by then."""
LOST_IN_A_ROW = 3
"""Hosts lost on a shard of which nothing is decided, or before they decide anything: more is not an accident."""
REFUSED_AGAIN_S = 60.0
"""A host that is refused while others work is asked for again this much later: many limits go by what one has there."""
YOUNG_S = 60.0
"""A host that is lost later than this was at work, though it may have decided nothing yet."""


class Losses:
    """Counts losses, and asks for other hosts."""

    def __init__(self, shared: Shared, entrance: Entrance, files: Files, turns: TurnsOfHosts) -> None:
        self._shared = shared
        self._entrance = entrance
        self._files = files
        self._turns = turns
        self._lost_on: Counter[str] = Counter()
        """Hosts lost in a row on a shard, by shard, without a unit of it decided."""
        self._lost_idle = 0
        """Hosts lost in a row, over all, that had decided nothing."""
        self.last_words = ""
        """Of the host, or the provider, that was lost last."""
        self.trouble = ""
        """Why hosts could not be had, when that was told last."""
        self._ask_again_at = math.inf

    # -- who is lost ----------------------------------------------------------------------------------------

    def hear_provider(self, told: News) -> None:
        """Raises EngineError if it refuses to start hosts, and there is none."""
        if isinstance(told, ProviderLost):
            self._cannot_have(told.reason, "no further host can be started; those that are here go on")
        elif isinstance(told, Busy):
            self._cannot_have(told.reason, "it is asked again; those that are here go on")
        elif (host := self._shared.roster.get(told.name)) is None:
            return
        elif isinstance(told, Gone):
            host.gone = told.reason
            if told.refused and host.stage is Stage.ASKED:
                self._refused(host, told.reason)
        else:
            host.handle = told.handle

    def _cannot_have(self, reason: str, follows: str) -> None:
        """Tells why there are no further hosts: once, though it may hold for many."""
        self.last_words = reason
        if reason != self.trouble:
            self.trouble = reason
            self._shared.tell(Note(text=f"{self._entrance.name}: {reason}; {follows}"))

    def _refused(self, host: RemoteHost, reason: str) -> None:
        """The engine does not even take it in."""
        roster, name = self._shared.roster, self._entrance.name
        self._entrance.strike(host)
        roster.drop(host)
        if not roster.here and not roster.expected:
            self.last_words = reason
            raise EngineError(f"{name} refuses to start hosts: {reason}", hint=self._entrance.hint())
        self._cannot_have(reason, f"it is asked again in {REFUSED_AGAIN_S:g} s, while others work")
        self._ask_again_at = time.monotonic() + REFUSED_AGAIN_S

    def look_for_the_lost(self) -> None:
        now = time.monotonic()
        if self._shared.setup is not None and now > self._ask_again_at:
            self._ask_again_at = math.inf
            self._replace()
        patience_s = PATIENCE * self._shared.options.lease_s
        for host in self._shared.roster:
            if host.over:
                continue
            if host.gone is not None and not host.linked:
                self.lose(host, host.gone)
            elif host.stage is not Stage.ASKED and now - host.heard_at > patience_s:
                self.lose(host, f"nothing was heard of it for {patience_s:g} s")

    def fence(self, host: RemoteHost, link: Link, reason: str) -> None:
        """It has said what no host of ours says: nothing that it says counts any more."""
        send_away(link, reason)
        if host.hi is not None or host.link is link:
            self.lose(host, reason)

    def left(self, host: RemoteHost, reason: str) -> None:
        """It was told to end, and has told all it had to."""
        if host.jobs:
            self.lose(host, reason or "it has ended")
            return
        host.stage = Stage.LEFT
        self._entrance.strike(host)
        self._shared.tell(HostLost(host=host.name, reason=reason or "it has ended", shards=0))
        self._replace()

    def shut_out(self, host: RemoteHost, reason: str) -> None:
        """It is over, and goes on: from now on it is not even heard."""
        host.shut_out = True
        self._entrance.strike(host)
        if host.link is not None:
            host.link.abort()
        self._shared.tell(Note(text=f"{host.name} is shut out: {reason}"))

    # -- what follows ---------------------------------------------------------------------------------------

    def lose(self, host: RemoteHost, reason: str, error: PreallocError | None = None) -> None:
        """Closes its name for good; what it had not decided runs elsewhere, with other attempt numbers."""
        if host.over:
            return
        shared = self._shared
        host.stage = Stage.LOST
        if host.replica is not None:
            host.replica.fenced = True
        if host.link is not None:
            host.mention(wire.Gone(reason))
            host.link.close()
        self._entrance.stop(host)
        self._turns.leave(host)
        self.last_words = f"{host.name}: {reason}"
        jobs, host.jobs = host.jobs, {}
        if shared.setup is not None:
            shared.tell(HostLost(host=host.name, reason=reason, shards=len(jobs)))
        shared.tell(*(WorkerGone(shard=shard, pid=pid, host=host.name) for shard, pid in sorted(host.workers)))
        for given in jobs.values():
            self._files.drop(given.file)
            self._requeue(given, reason, host.replica)
        young = host.ready_at is None or time.monotonic() - host.ready_at < YOUNG_S
        if young and not host.decided and not shared.stopping:
            self._lost_idle += 1
            if self._lost_idle >= LOST_IN_A_ROW:
                self._give_up_on_more(error)
                return
        self._replace()

    def decided(self, host: RemoteHost, shard: str) -> None:
        """It has decided a unit of the shard: losses before that were accidents."""
        host.decided = True
        if self._lost_idle:
            self._lost_idle = 0
            self._replace()
        self._lost_on.pop(shard, None)

    def may_end_machines(self, shard: str) -> bool:
        """Whether one of its units may be what hosts are lost by: each runs by itself then."""
        return self._lost_on[shard] >= LOST_IN_A_ROW

    def _give_up_on_more(self, error: PreallocError | None) -> None:
        """Hosts are lost in a row before they decide anything. Those that work go on; without one, the run ends."""
        if any(host.stage is Stage.READY and host.linked for host in self._shared.roster):
            return
        if isinstance(error, CannotGoOn):
            raise error
        problem = f"{LOST_IN_A_ROW} hosts in a row were lost before they decided anything; the last was"
        raise EngineError(f"{problem} {self.last_words}", hint=self._entrance.hint())

    def _requeue(self, given: Given, reason: str, replica: Replica | None) -> None:
        """A lost host is nobody's fault, but what is lost with hosts again and again may be."""
        shard = given.job.shard
        poisonous = self.may_end_machines(shard)
        self._lost_on[shard] += 1
        told = f"its host was lost: {reason}"
        for key, order in list(given.undecided.items()):
            if poisonous:
                given.deaths[key] = given.deaths.get(key, 0) + 1
                self._count_death(given, key, order, told)
            self._note_lost(given, key, told)
        left = given.left()
        if replica is not None and self._shared.session.cleanup is not None:
            left = left._replace(due=replica.due(shard))
        self._shared.tell(JobEnded(job=given.job.number, shard=shard, left=left))

    def _note_lost(self, given: Given, key: Key, reason: str) -> None:
        """Notes an attempt that ran on the host, and after which its unit runs again."""
        attempt, order = given.began.get(key), given.undecided.get(key)
        if attempt is not None and order is not None and attempt >= order.attempt:
            self._shared.session.journal.append(AttemptLost(**given.job.unit(key), attempt=attempt, reason=reason))

    def _count_death(self, given: Given, key: Key, order: UnitOrder, reason: str) -> None:
        journal, unit = self._shared.session.journal, given.job.unit(key)
        journal.append(SoloDeath(**unit, attempt=order.attempt, reason=reason))
        if (deaths := given.deaths[key]) < SOLO_DEATHS:
            return
        line = AttemptLine(
            **unit,
            attempt=order.attempt,
            status=Status.CRASHED,
            started_at=time.time(),
            queued_s=0.0,
            waiting_s=0.0,
            working_s=0.0,
            peak_rss=0,
            lane=given.job.lane,
            error=ErrorInfo(type="Crashed", message=f"{deaths} hosts were lost while it ran alone: {reason}"),
        )
        journal.append(line)
        del given.undecided[key]
        self._lost_on.pop(given.job.shard, None)
        self._shared.tell(AttemptEnded.of(line, given.job.type_of(key)))

    def _replace(self) -> None:
        """Asks for others in the place of those that are gone, while there is something to run."""
        shared = self._shared
        if shared.stopping or shared.setup is None:
            return
        alive = len(shared.roster.here) + len(shared.roster.expected)
        if self._entrance.can_start:
            for _ in range(alive, shared.options.hosts):
                self._entrance.ask_for_one()
        elif not alive:
            raise EngineError(f"all hosts are gone; the last was {self.last_words}", hint="`prealloc resume` goes on")


def send_away(link: Link, reason: str) -> None:
    """Tells whoever is there that the master wants nothing of it, and hangs up."""
    link.send(wire.frame(wire.Gone(reason)))
    link.close()
