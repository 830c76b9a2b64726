"""The hosts engine: shards run on other machines, each by a local engine there, over one link to each.

What starts the hosts is a provider (Slurm, Ray, ...), or the user. No word of theirs about a death counts for more
than a hint: a host is lost when nothing was heard of it for longer than its lease, or when its link has ended and
whoever has started it says that it is gone. Then its name is closed for good, and what it had not decided runs
elsewhere. That is nobody's fault, unless hosts are lost again and again on the same unit.

This module is the engine as the master sees it, its turn, and who takes which message. The parts do the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from prealloc.engines.admission import Room
from prealloc.engines.base import Checked, Engine, EngineFacts, RunSetup, ShardJob, WorkerCheck
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.admission import Admission
from prealloc.engines.hosts.entrance import Entrance
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.jobs import Jobs
from prealloc.engines.hosts.link import Closed, Heard, Link, Opened
from prealloc.engines.hosts.listener import Listener
from prealloc.engines.hosts.losses import Losses
from prealloc.engines.hosts.roster import RemoteHost, Seen, Stage
from prealloc.engines.hosts.shared import TURN_S, Shared
from prealloc.engines.hosts.turns import TurnsOfHosts
from prealloc.engines.hosts.units import UnitsOfHosts
from prealloc.engines.log import open_log
from prealloc.errors import EngineError, PreallocError
from prealloc.files.atomic import must_write
from prealloc.lanes.limiter import AHEAD_S
from prealloc.model.document import Unreadable
from prealloc.model.events import Event, HostsSampled
from prealloc.model.policy import EngineOptions
from prealloc.processes.waiting import await_readable
from prealloc.store.spools import note_spools

MOST_LOG_OF_A_JOB = 2 * (2 * wire.END_LOG + 2**13)
"""Bytes that a host sends of a log, at the end of a job and at its own: beginning, end, and what was left out."""
LOOK_S = 0.02
PASS_ON_S = 0.002
"""Between two batches of jobs that are launched: what they and the turns of lanes take to the hosts is the work of
another thread, which would fall behind.
"""
SAMPLE_S = 2.0
CLOSE_S = 5.0


class HostsEngine(Engine):
    """Runs shards on hosts. `provider` is what starts them; None: somebody else does."""

    facts = EngineFacts(can_kill=True, guards_library=True, worker_outlives_master=True, hands_back=True)

    def __init__(self, provider: str | None = None, options: EngineOptions | None = None) -> None:
        self._shared = Shared(options or EngineOptions())
        self._roster = self._shared.roster
        self._entrance = Entrance(self._shared, provider)
        self.name = self._entrance.name
        self._turns = TurnsOfHosts(self._shared)
        self._files = Files(self._shared)
        self._losses = Losses(self._shared, self._entrance, self._files, self._turns)
        self._jobs = Jobs(self._shared, self._files, self._losses)
        self._units = UnitsOfHosts(self._shared, self._files, self._losses)
        self._admission = Admission(self._shared, self._entrance, self._files, self._losses, self._units)
        self._look_at = self._sample_at = 0.0

    # -- as of Engine ---------------------------------------------------------------------------------------

    def check(self, wanted: WorkerCheck) -> Checked:
        """Asks for the hosts, and waits for the first that can run the worker function."""
        return self._admission.check(wanted, self._turn)

    @property
    def address(self) -> str:
        """Where hosts reach the master, for people."""
        return self._entrance.address

    def look(self) -> Seen:
        """How the first host is, for people. Call it after `check`."""
        end = time.monotonic() + self._shared.options.lease_s
        while time.monotonic() < end:
            for host in self._roster.here:
                if (seen := host.seen()) is not None:
                    return seen
            self._turn(TURN_S)
        raise EngineError("the host has said nothing more", hint="see that its machine is not overloaded")

    def open(self, setup: RunSetup) -> None:
        self._shared.setup, self._shared.opened_at = setup, time.monotonic()
        if self._entrance.spools is not None:
            note_spools(setup.paths, self._entrance.spools)
        for host in self._roster:
            if host.stage is Stage.READY:
                self._admission.open(host)
        # Jobs are launched on what the hosts say of their room, so the first is heard before that.
        end = time.monotonic() + setup.policy.start_s
        while not any(host.beat is not None and host.beat.room for host in self._roster) and time.monotonic() < end:
            self._turn(TURN_S)

    def most_jobs(self, shards: int, slice_bytes: int) -> int:
        told = [host.hi.room for host in self._roster if host.hi is not None and host.hi.room is not None]
        each = self._shared.options.room or max(told, default=64)
        return max(1, min(shards, each * self._shared.options.hosts))

    def room(self) -> Room:
        return self._jobs.room()

    def launch(self, job: ShardJob) -> None:
        self._jobs.launch(job)

    def unbegun(self) -> Mapping[int, int]:
        return self._jobs.unbegun()

    def hand_back(self, job: int, units: int) -> None:
        self._jobs.hand_back(job, units)

    def halt(self, lane: str | None) -> None:
        limiter = self._shared.session.limiter
        reason = limiter.halted(lane) if lane is not None else None
        self._say_all(wire.Halt(lane, reason, lane is not None and limiter.key_refused(lane)))
        self._jobs.give_back_waiting(lambda job: lane is None or job.lane == lane)

    def allow(self, tasks: Mapping[int, int]) -> None:
        self._jobs.allow(tasks)

    def drain(self) -> None:
        self._shared.stopping = True
        self._say_all(wire.Drain())
        self._jobs.give_back_waiting()

    def stop(self) -> None:
        self._shared.stopping = True
        self._say_all(wire.Stop())
        self._jobs.give_back_waiting()

    def wait(self, timeout_s: float) -> Sequence[Event]:
        self._turn(0.0 if self._shared.events else max(PASS_ON_S, timeout_s))
        return self._shared.take_events()

    def memory(self) -> Mapping[str, int]:
        return self._roster.memory()

    def close(self) -> None:
        """All hosts end. What was told to them is on its way."""
        self._shared.stopping = True
        if (listener := self._entrance.take_listener()) is not None:
            linked = [host for host in self._roster.here if host.linked]
            for host in linked:
                host.mention(wire.Bye("the run is over"))
            self._take_last_words(listener, linked)
            listener.close()
        self._entrance.close()
        for host in self._roster:
            if host.replica is not None:
                host.replica.close()

    def _take_last_words(self, listener: Listener, linked: list[RemoteHost]) -> None:
        """What hosts send of their logs before they end."""
        end = time.monotonic() + CLOSE_S
        while any(host.linked for host in linked) and time.monotonic() < end:
            await_readable([listener.mailbox.fileno()], TURN_S)
            for news in listener.mailbox.take():
                if isinstance(news, Heard):
                    with contextlib.suppress(Unreadable, PreallocError):
                        found = wire.read_frame(news.raw, wire.from_host)
                        if isinstance(found.message, wire.Log) and (host := self._roster.get(news.link.name)):
                            self._log(host, found.message, found.body)

    # -- a turn ---------------------------------------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        """Waits until something happens, and takes it in."""
        mailbox = self._entrance.mailbox
        if mailbox is None:
            return
        if self._turns.has_waiting:
            timeout_s = min(timeout_s, AHEAD_S / 2)
        await_readable(self._entrance.descriptors(), min(timeout_s, TURN_S))
        for news in mailbox.take():
            if isinstance(news, Opened | Heard | Closed):
                self._take(news)
        for told in self._entrance.news():
            self._look_at = 0.0
            self._losses.hear_provider(told)
        self._look()
        if self._shared.setup is not None:
            self._turns.give()
            self._units.acknowledge()
            self._jobs.give_out()

    def _look(self) -> None:
        """Looks after the hosts, now and then, and when something has ended: there may be many, and many turns."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._losses.look_for_the_lost()
            if self._shared.setup is not None:
                self._turns.heed_the_way()
        if self._shared.setup is not None and now >= self._sample_at:
            self._sample_at = now + SAMPLE_S
            self._shared.tell(HostsSampled(hosts=tuple(host.state() for host in self._roster.here)))

    def _say_all(self, message: wire.Message) -> None:
        for host in self._roster.here:
            host.say(message)

    # -- what a link says -----------------------------------------------------------------------------------

    def _take(self, news: Opened | Heard | Closed) -> None:
        host = self._roster.get(news.link.name)
        if host is None or host.shut_out:
            news.link.abort()
        elif isinstance(news, Opened):
            pass  # it has shown its token; who it is, it says next
        elif isinstance(news, Closed):
            self._look_at = 0.0
            if news.link.broken:
                self._losses.fence(host, news.link, f"it breaks the protocol: {news.reason}")
            if host.link is news.link:
                host.link = None
        else:
            try:
                self._hear(host, news.link, news.raw)
            except Unreadable as error:
                self._losses.fence(host, news.link, f"it says what cannot be: {error}")

    def _hear(self, host: RemoteHost, link: Link, raw: bytes) -> None:
        found = wire.read_frame(raw, wire.from_host)
        if isinstance(found.message, wire.Hi):
            self._admission.greet(host, link, found)
            return
        if host.link is not link:
            if host.hi is None:
                raise Unreadable("it does not say who it is")
            return  # an older connection of its own
        host.heard_at = time.monotonic()
        if not host.numbered.take(found):
            return
        if host.over and not isinstance(found.message, wire.Lines):
            return
        self._heed(host, found.message, found.body)

    def _heed(self, host: RemoteHost, message: Any, body: bytes) -> None:
        if self._shared.setup is None and not isinstance(message, wire.BEFORE_A_SESSION):
            raise Unreadable("it speaks of a session, and none has begun")
        if isinstance(message, wire.Lines):
            self._units.copy(host, message, body)
        elif isinstance(message, wire.Awaited):
            self._units.hurry(host)
        elif isinstance(message, wire.Beat):
            ahead_s = message.wall - time.time()
            host.beats(msgspec.structs.replace(message, wall_s=ahead_s))
            host.draining = host.draining or message.draining
            host.has_offered = host.has_offered or message.room > 0
        elif isinstance(message, wire.Ask | wire.Done | wire.Leave):
            self._turns.hear(host, message)
        elif isinstance(message, wire.Told):
            self._units.told(host, message)
        elif isinstance(message, wire.Ready):
            self._admission.is_ready(host, message)
        elif isinstance(message, wire.Broken):
            self._admission.is_broken(host, message)
        elif isinstance(message, wire.Log):
            self._log(host, message, body)
        elif isinstance(message, wire.Bye):
            self._losses.left(host, message.reason)

    def _log(self, host: RemoteHost, message: wire.Log, body: bytes) -> None:
        """Adds a part of a shard's log to the run's. Raises Unreadable if that is too much."""
        log = self._shared.session.paths.log(message.shard)
        if message.shard not in host.shards:
            return
        host.log_bytes += len(body)
        if self._shared.options.logs != "all" and host.log_bytes > host.given * MOST_LOG_OF_A_JOB:
            raise Unreadable("more of logs than their beginnings and ends")
        with must_write(log), open(open_log(log), "ab") as file:
            file.write(body)
