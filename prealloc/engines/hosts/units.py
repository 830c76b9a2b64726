"""What hosts say of the units that they have: each line is checked, and told as the events of an engine.

A unit is decided by the journal's line alone. What a host says beside it counts only for a unit that the host has,
and never before the line.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import msgspec

from prealloc.engines.deaths import is_turned_away
from prealloc.engines.handover import JobEnded, TurnedAway, Units, UnitsReturned, units_of
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.losses import Losses
from prealloc.engines.hosts.replica import MOST_FURTHER_ATTEMPTS, Copied, Replica
from prealloc.engines.hosts.roster import MOST_WORKERS, Given, RemoteHost
from prealloc.engines.hosts.shared import Shared
from prealloc.engines.hosts.spool import MOST_UNACKED
from prealloc.engines.hosts.wire import PIECE
from prealloc.model.document import Unreadable
from prealloc.model.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    LibraryOpenedByWorker,
    Note,
    ShardStarted,
    WorkerGone,
    WorkerLost,
)
from prealloc.model.outcome import Status
from prealloc.model.words import size
from prealloc.store.journal_lines import MOST_LINE_BYTES, AttemptLine, SoloDeath
from prealloc.worker.job import Key

MOST_BEGUN = MOST_LINE_BYTES + 2 * PIECE
"""Bytes of lines of one host that have not come to their end."""
MOST_LATE = 16 * MOST_UNACKED
"""Bytes of its journal that are taken of a host though they decide nothing: it is over, or does not have the units.
Far more than an honest one has on its way then.
"""
MOST_NOTES = 2**20
MOST_NOTES_OF_A_JOB = 2**16
"""Bytes of sentences for people: so many, and so many for each job that it was ever given."""
WORKERS_OF_EACH = 16
"""Workers that a host may start for each job and each unit that it was ever given. A worker that ends early ends with a
unit, and a unit is given up after a few such ends: honest hosts need a quarter of it at most.
"""


class UnitsOfHosts:
    """Takes in what hosts say of their units. All methods raise Unreadable for what no host of ours says."""

    def __init__(self, shared: Shared, files: Files, losses: Losses) -> None:
        self._shared = shared
        self._files = files
        self._losses = losses
        self._incarnations: Counter[str] = Counter()
        """Workers so far, by shard, of all hosts."""
        self._changed: dict[str, RemoteHost] = {}
        """Hosts whose journals have grown since acknowledgements were last given."""

    # -- lines of journals ----------------------------------------------------------------------------------

    def follow(self, host: RemoteHost) -> None:
        """From now on the host's journal is taken in."""
        host.replica = Replica(
            host.name,
            self._shared.session,
            host.shards,
            lambda shard: self._next_incarnation(host, shard),
            lambda line: self._holds(host, line),
        )

    def acknowledge(self) -> None:
        """Tells hosts what of their journals is in the run's: a host waits for that only where `acks_are_due`."""
        for host in [*self._changed.values()]:
            if host.replica is not None and host.replica.acks_are_due:
                del self._changed[host.name]
                if acks := host.replica.new_acks():
                    host.mention(wire.Ack(acks))

    def hurry(self, host: RemoteHost) -> None:
        """The host waits for what it has not been told yet."""
        if host.replica is not None:
            host.replica.hurry()
            self._changed[host.name] = host

    def copy(self, host: RemoteHost, message: wire.Lines, body: bytes) -> None:
        """Takes bytes of a host's journal in, and tells what they mean."""
        if host.replica is None:
            raise Unreadable("lines of a session that it knows nothing of")
        if host.over:
            host.late_bytes += len(body)
            if host.late_bytes > MOST_LATE:
                self._losses.shut_out(host, f"it has sent more than {size(MOST_LATE)} since its end")
                return
        with closing(host.replica.take(message.file, message.offset, body)) as taken:
            for copied in taken:
                self._line(host, copied)
                if copied.late and not host.over:
                    host.late_bytes += copied.size
                    if host.late_bytes > MOST_LATE:
                        raise Unreadable(f"{size(MOST_LATE)} of endings of units that it does not have")
        self._changed[host.name] = host
        if not body.endswith(b"\n") and host.replica.begun_bytes > MOST_BEGUN:
            raise Unreadable(f"{size(MOST_BEGUN)} of lines that do not end")

    def _next_incarnation(self, host: RemoteHost, shard: str) -> int:
        host.started += 1
        if host.started > WORKERS_OF_EACH * (host.given + host.units):
            raise Unreadable(f"more than {WORKERS_OF_EACH} workers for each job and unit that it was given")
        self._incarnations[shard] += 1
        return self._incarnations[shard]

    def _holds(self, host: RemoteHost, line: AttemptLine) -> bool:
        found = _find(host, line)
        if found is None:
            return False
        given, key = found
        order = given.undecided[key]
        if not order.attempt <= line.attempt <= order.attempt + MOST_FURTHER_ATTEMPTS:
            raise Unreadable(f"attempt {line.attempt} of {line.shard}/{line.task}#{line.repeat} is not its own")
        return True

    def _line(self, host: RemoteHost, copied: Copied) -> None:
        line = copied.line
        if copied.late or host.over or not isinstance(line, SoloDeath | AttemptLine):
            return
        if (found := _find(host, line)) is None:
            return
        given, key = found
        if isinstance(line, AttemptLine):
            self._ended(host, line, given, key)
        else:
            given.deaths[key] = given.deaths.get(key, 0) + 1
            given.undecided[key] = given.undecided[key]._replace(attempt=line.attempt + 1)

    def _ended(self, host: RemoteHost, line: AttemptLine, given: Given, key: Key) -> None:
        """An attempt at a unit of the host has ended."""
        order = given.undecided[key]
        self._losses.decided(host, line.shard)
        event = AttemptEnded.of(line, given.job.type_of(key))
        if given.began.get(key) != line.attempt:
            self._shared.tell(AttemptStarted(**given.job.unit(key), attempt=line.attempt))
        if line.lane == given.job.lane and is_turned_away(line, self._shared.session):
            # The host may not have heard yet that the lane has halted, and keep the unit for decided: so it is noted.
            given.undecided[key] = order._replace(attempt=line.attempt + 1, waited_s=line.waiting_s)
            given.away.add(key)
            self._shared.tell(TurnedAway(job=given.job.number, ended=event))
            return
        given.ended(key, line)
        if line.status is Status.CANCELLED and host.draining and not self._shared.stopping:
            given.rest.append(order._replace(attempt=line.attempt + 1))
            event = msgspec.structs.replace(event, outcome=False)
        self._shared.tell(event)

    # -- what is said beside them ---------------------------------------------------------------------------

    def told(self, host: RemoteHost, message: wire.Told) -> None:
        """Things for people, and units that come back."""
        for event in message.events:
            if isinstance(event, UnitsReturned):
                self._returned(host, event)
            elif isinstance(event, JobEnded):
                self._job_ended(host, event)
            else:
                self._for_people(host, event)

    def _for_people(self, host: RemoteHost, event: Event) -> None:
        shard = getattr(event, "shard", None)
        if (
            shard is not None
            and shard not in host.shards
            and not (isinstance(event, LibraryOpenedByWorker) and not shard)
        ):
            raise Unreadable(f"it speaks of shard {shard!r}, which was not given to it")
        if isinstance(event, AttemptStarted):
            found = _find(host, event)
            if found is None or event.attempt < found[0].undecided[found[1]].attempt:
                return
            found[0].began[found[1]] = event.attempt
        if getattr(event, "host", host.name) != host.name:
            raise Unreadable("it speaks for another host")
        if isinstance(event, ShardStarted):
            host.workers.add((event.shard, event.pid))
            if len(host.workers) > MOST_WORKERS:
                raise Unreadable(f"more than {MOST_WORKERS} workers at once")
            if host.replica is not None:
                number = host.replica.incarnation(event.shard, event.incarnation)
                event = msgspec.structs.replace(event, incarnation=number)
        elif isinstance(event, WorkerLost | WorkerGone):
            host.workers.discard((event.shard, event.pid))
        elif isinstance(event, Note):
            host.note_bytes += len(event.text)
            if host.note_bytes > MOST_NOTES + host.given * MOST_NOTES_OF_A_JOB:
                raise Unreadable("more sentences than people read")
            event = Note(text=f"{host.name}: {self._as_here(host, event.text)}")
        self._shared.tell(event)

    def _as_here(self, host: RemoteHost, text: str) -> str:
        """Logs come to the run's folder, and the spool is gone at the end."""
        if host.hi is None or not host.hi.spool:
            return text
        return text.replace(f"{host.hi.spool}/", f"{self._shared.session.paths.root}/")

    # -- units that come back -------------------------------------------------------------------------------

    def _returned(self, host: RemoteHost, message: UnitsReturned) -> None:
        given = host.jobs.get(message.job)
        if given is not None:
            units = _taken(given, message.units)
            self._shared.tell(UnitsReturned(job=message.job, shard=given.job.shard, units=units))

    def _job_ended(self, host: RemoteHost, message: JobEnded) -> None:
        given = host.jobs.get(message.job)
        if given is None:
            return
        units = _taken(given, message.left)
        del host.jobs[message.job]
        if host.replica is not None and not any(each.job.shard == given.job.shard for each in host.jobs.values()):
            host.replica.finish(given.job.shard)
        self._files.drop(given.file)
        away = (order for key, order in given.undecided.items() if key in given.away)
        more = units_of((*given.rest, *away), given.deaths)
        self._shared.tell(JobEnded(job=message.job, shard=given.job.shard, left=units.with_more(more)))


def _find(host: RemoteHost, unit: AttemptLine | SoloDeath | AttemptStarted) -> tuple[Given, Key] | None:
    """The job by which the host has this unit undecided, and its key there."""
    for given in host.jobs.values():
        if given.job.shard == unit.shard and (key := given.key(unit.task, unit.repeat)) is not None:
            return given, key
    return None


def _taken(given: Given, units: Units) -> Units:
    """Units that a host gives back. Raises Unreadable if it does not have them."""
    keys = [order.key for order in units.orders]
    for key, order in zip(keys, units.orders, strict=True):
        known = given.undecided.get(key)
        if known is None or order.attempt > known.attempt + MOST_FURTHER_ATTEMPTS or keys.count(key) > 1:
            raise Unreadable(f"it gives back unit {key}, which it does not have")
    for key in keys:
        del given.undecided[key]
    return units_of(units.orders, units.deaths)
