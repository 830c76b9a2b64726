"""The hosts engine: shards run on other machines, each by a local engine there, over one link to each.

What starts the hosts is a provider (Slurm, Ray, ...), or the user. No word of theirs about a death counts for more
than a hint: a host is lost when nothing was heard of it for longer than its lease, or when its link has ended and
whoever has started it says that it is gone. Then its name is closed for good, and what it had not decided runs
elsewhere. That is nobody's fault, unless hosts are lost again and again on the same unit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import select
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from prealloc._version import __version__
from prealloc.engines.base import Checked, EngineFacts, Room, RunSetup, ShardJob, WorkerCheck
from prealloc.engines.handover import JobEnded, TurnedAway, Units, UnitsReturned
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.link import Closed, Heard, Link, Listener, Opened, own_addresses
from prealloc.engines.hosts.options import FOLDER, SPOOL, own_options, pairs, place
from prealloc.engines.hosts.providers.client import Gone, ProviderLost, ProviderProcess, Started
from prealloc.engines.hosts.replica import MOST_FURTHER_ATTEMPTS, Copied, PlannedShard, Replica
from prealloc.engines.hosts.roster import Given, RemoteHost, Roster, Stage
from prealloc.engines.hosts.ship import packed
from prealloc.engines.hosts.spec import HostSpec, Identity, new_identity, new_token, write_spec
from prealloc.engines.hosts.wire import PIECE
from prealloc.errors import (
    CannotGoOn,
    EngineError,
    JournalError,
    PreallocError,
    WorkerFunctionError,
)
from prealloc.files.atomic import must_write
from prealloc.lanes.limiter import AHEAD_S
from prealloc.model.document import Unreadable
from prealloc.model.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    HostJoined,
    HostLost,
    HostsSampled,
    LibraryOpenedByWorker,
    Note,
    ShardStarted,
    WorkerGone,
    WorkerLost,
)
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.model.policy import SOLO_DEATHS, EngineOptions
from prealloc.model.words import listed
from prealloc.store.journal import MOST_LINE_BYTES, AttemptLine, SoloDeath
from prealloc.store.slices import Slice
from prealloc.store.spools import note_spools
from prealloc.worker.job import UnitOrder

PATIENCE = 1.5
"""A host is lost after so many leases without a word: it has ended itself by then."""
LOST_IN_A_ROW = 3
"""Hosts lost on a shard of which nothing is decided, or before they decide anything: more is not an accident."""
YOUNG_S = 60.0
"""A host that is lost later than this was at work, though it may have decided nothing yet."""
MOST_OF_WINDOW = 0.02
"""The way there and back may take this part of a lane's shortest window: the pacer's guard is for as much."""
TURN_S = 0.1
GATHER_S = 1.0
"""When the first host is ready, the others get this long to say what is wrong with them."""
TELL_S = 15.0
"""Waiting for hosts is told after this time."""
SAMPLE_S = 2.0
CLOSE_S = 5.0
MOST_BEGUN = MOST_LINE_BYTES + 2 * PIECE
"""Bytes of lines of one host that have not come to their end."""
OPEN_FILES = 2**16
NO_PROVIDER = "hosts"
CLUSTERS = ("slurm", "ray", "dask")
"""Engines that start hosts on other machines than the master's."""


class HostsEngine:
    """Runs shards on hosts. `provider` is what starts them; None: somebody else does."""

    facts = EngineFacts(can_kill=True, guards_library=True, worker_outlives_master=True, hands_back=True)

    def __init__(self, provider: str | None = None, options: EngineOptions | None = None) -> None:
        self.name = provider or NO_PROVIDER
        self._options = options or EngineOptions()
        self._provider_name = provider
        self._provider: ProviderProcess | None = None
        self._listener: Listener | None = None
        self._identity: Identity | None = None
        self._folder: Path | None = None
        """Of join files."""
        spool = pairs(self._options.engine_option).get(SPOOL)
        self._spools = Path(spool).absolute() / f"prealloc-{secrets.token_hex(8)}" if spool is not None else None
        """Where hosts write, if all machines are to see it."""
        self._roster = Roster()
        self._wanted: WorkerCheck | None = None
        self._checked_digest: str | None = None
        self._setup: RunSetup | None = None
        self._library_told = False
        self._waiting: list[ShardJob] = []
        """Jobs that no host has taken yet."""
        self._events: list[Event] = []
        self._names = 0
        self._incarnations: Counter[str] = Counter()
        self._lost_on: Counter[str] = Counter()
        """Hosts lost in a row on a shard, by shard, without a unit of it decided."""
        self._lost_idle = 0
        """Hosts lost in a row, over all, that had decided nothing."""
        self._last_words = ""
        self._sample_at = 0.0
        self._far: set[tuple[str, str]] = set()
        """Hosts that are too far away for a lane."""
        self._stopping = False
        self._broken: list[PreallocError] = []
        self._blobs: dict[str, bytes] = {}
        """Files that are made, not read, by digest."""
        self._code: str | None = None

    # -- before a session -----------------------------------------------------------------------------------

    def check(self, wanted: WorkerCheck) -> Checked:
        """Asks for the hosts, and waits for the first that can run the worker function."""
        self._wanted = wanted
        self._begin()
        began = time.monotonic()
        first: float | None = None
        told = False
        while True:
            self._turn(TURN_S)
            now = time.monotonic()
            ready = [host for host in self._roster if host.stage is Stage.READY]
            checking = [host for host in self._roster if host.stage is Stage.CHECKS]
            if first is None and (ready or self._broken):
                first = now
            missing = self._roster.expected and first is not None and now - first < GATHER_S
            if first is not None and not checking and not missing:
                break
            if not self._roster.here and not self._roster.expected and not self._broken:
                raise EngineError(f"no host can be had: {self._last_words}", hint=self._hint())
            if not told and now - began > TELL_S:
                told = True
                wanted.tell(self._waits())
        if self._broken:
            raise _together(self._broken)
        self._refuse_mixture(ready)
        reports = [host.ready for host in ready if host.ready is not None]
        notes = dict.fromkeys(note for report in reports for note in report.notes)
        unset = dict.fromkeys(name for report in reports for name in report.unset)
        return Checked(tuple(notes), tuple(unset))

    def _begin(self) -> None:
        """Listens, and asks for the hosts. Again: nothing."""
        if self._listener is not None:
            return
        options = self._options
        _allow_open_files()
        self._take_code()
        self._identity = new_identity()
        address, port = place(options.listen)
        self._listener = Listener(address, port, self._identity, self._echo)
        if self._provider_name is not None:
            self._provider = ProviderProcess(self._provider_name, own_options(options))
        for _ in range(options.hosts):
            self._ask_for_one()
        if self._provider is None:
            self._tell_how_to_join()

    def _ask_for_one(self) -> None:
        """One more host."""
        if self._listener is None or self._identity is None:
            return
        self._names += 1
        host = RemoteHost(f"host-{self._names}", new_token())
        spec = HostSpec(
            name=host.name,
            addresses=self._addresses(),
            port=self._listener.port,
            certificate=self._identity.certificate,
            token=host.token,
            lease_s=self._options.lease_s,
            room=self._options.room,
            spool=str(self._spools) if self._spools is not None else None,
        )
        self._roster.add(host)
        self._listener.admit(host.token, host.name)
        if self._provider is not None:
            self._provider.start(host.name, spec.encoded())
        else:
            write_spec(self._join_folder() / f"{host.name}.json", spec)

    def _join_folder(self) -> Path:
        if self._folder is None:
            import tempfile

            parent = pairs(self._options.engine_option).get(FOLDER)
            with must_write(parent or "a folder for join files", EngineError):
                self._folder = Path(tempfile.mkdtemp(prefix="prealloc-join-", dir=parent))
        return self._folder

    def _tell_how_to_join(self) -> None:
        if self._wanted is not None and self._folder is not None:
            many = "" if self._options.hosts == 1 else f" (and so on to host-{self._options.hosts}.json)"
            path = self._folder / "host-1.json"
            self._wanted.tell(f"start the hosts, each with a file of its own{many}: prealloc host --join {path}")

    def _waits(self) -> str:
        if checking := [host.name for host in self._roster if host.stage is Stage.CHECKS]:
            return f"waiting for {listed(checking, 3)} to import the worker's module"
        handles = [host.handle for host in self._roster.expected if host.handle is not None]
        shown = f" ({listed(handles, 3)})" if handles else ""
        return f"waiting for the first of {self._options.hosts} hosts{shown}"

    def _hint(self) -> str:
        if self.name in CLUSTERS and place(self._options.listen)[0] in ("127.0.0.1", "localhost", "::1"):
            return (
                f"other machines cannot reach ‹listen› {self._options.listen}: name an address of this machine that "
                "they can reach, or 0.0.0.0 for all of them"
            )
        return f"`prealloc doctor --engine {self.name}` starts one and says more"

    def _take_code(self) -> None:
        if self._options.ship is not None:
            self._code = self._keep(packed(Path(self._options.ship)))

    def _keep(self, raw: bytes) -> str:
        digest = hashlib.sha256(raw).hexdigest()
        self._blobs[digest] = raw
        return digest

    def _environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in self._options.pass_env if name in os.environ}

    def _refuse_mixture(self, ready: Sequence[RemoteHost]) -> None:
        """Raises WorkerFunctionError if the worker's module is not the same on all hosts."""
        found: dict[str | None, list[str]] = {}
        for host in ready:
            found.setdefault(host.ready.digest if host.ready is not None else None, []).append(host.name)
        if len(found) > 1:
            told = "; ".join(
                f"{listed(names, 3)} have {digest or 'no file of it'}"[:120] for digest, names in found.items()
            )
            worker = self._wanted.worker if self._wanted is not None else ""
            hint = "install the same there, or ‹ship› it"
            raise WorkerFunctionError(f"its module is not the same on all hosts: {told}", where=repr(worker), hint=hint)
        self._checked_digest = next(iter(found), None)

    def _refuse_another_code(self, host: RemoteHost) -> bool:
        """Whether the host has another worker module than the first one, and so takes no part."""
        if host.ready is not None and host.ready.digest == self._checked_digest:
            return False
        self._lose(host, "its file of the worker's module is another one than on the first host; ‹ship› the code")
        return True

    def look(self) -> Seen:
        """How the first host is, for people. Call it after `check`."""
        end = time.monotonic() + self._options.lease_s
        while time.monotonic() < end:
            for host in self._roster.here:
                if host.hi is not None and host.beat is not None and host.beat.rtt_s is not None:
                    address = f"{self._addresses()[0]}:{self._listener.port if self._listener is not None else 0}"
                    return Seen.of(host.hi, host.beat, host.handle, host.name, address)
            self._turn(TURN_S)
        raise EngineError("the host has said nothing more", hint="see that its machine is not overloaded")

    def _addresses(self) -> tuple[str, ...]:
        return own_addresses(place(self._options.listen)[0])

    # -- as of Engine ---------------------------------------------------------------------------------------

    def open(self, setup: RunSetup) -> None:
        self._setup = setup
        if self._spools is not None:
            note_spools(setup.paths, self._spools)
        for host in self._roster:
            if host.stage is Stage.READY:
                self._open(host)
        # Jobs are launched on what the hosts say of their room, so the first is heard before that.
        end = time.monotonic() + setup.policy.start_s
        while not any(host.beat is not None and host.beat.room for host in self._roster) and time.monotonic() < end:
            self._turn(TURN_S)

    def most_jobs(self, shards: int, slice_bytes: int) -> int:
        told = [host.hi.room for host in self._roster if host.hi is not None and host.hi.room is not None]
        each = self._options.room or max(told, default=64)
        return max(1, min(shards, each * self._options.hosts))

    def allowed(self, jobs: int) -> tuple[int, str | None]:
        return jobs, None

    def room(self) -> Room:
        return Room(sum(host.free for host in self._roster) - len(self._waiting))

    def launch(self, job: ShardJob) -> None:
        self._waiting.append(job)
        self._give_out()

    def unbegun(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for host in self._roster.here:
            if host.linked and host.beat is not None and not host.draining:
                for number, units in host.beat.unbegun.items():
                    if number in host.jobs:
                        found[number] = min(units, len(host.jobs[number].undecided))
        return found

    def hand_back(self, job: int, units: int) -> None:
        if (host := self._roster.holder(job)) is not None:
            host.say(wire.HandBack(job, units))

    def halt(self, lane: str | None) -> None:
        reason = key_refused = None
        if lane is not None and self._setup is not None:
            reason, key_refused = self._setup.limiter.halted(lane), self._setup.limiter.key_refused(lane)
        self._say_all(wire.Halt(lane, reason, bool(key_refused)))
        self._give_back_waiting(lambda job: lane is None or job.lane == lane)

    def allow(self, tasks: Mapping[int, int]) -> None:
        for host in self._roster.here:
            if mine := {job: most for job, most in tasks.items() if job in host.jobs}:
                host.say(wire.Allow(mine))

    def drain(self) -> None:
        self._stopping = True
        self._say_all(wire.Drain())
        self._give_back_waiting(lambda job: True)

    def stop(self) -> None:
        self._stopping = True
        self._say_all(wire.Stop())
        self._give_back_waiting(lambda job: True)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        self._turn(0.0 if self._events else timeout_s)
        events, self._events = self._events, []
        return events

    def memory(self) -> Mapping[str, int]:
        return self._roster.memory()

    def close(self) -> None:
        """All hosts end. What was told to them is on its way."""
        self._stopping = True
        listener, self._listener = self._listener, None
        if listener is not None:
            linked = [host for host in self._roster.here if host.linked]
            for host in linked:
                host.mention(wire.Bye("the run is over"))
            self._take_last_words(listener, linked)
            listener.close()
        if self._provider is not None:
            self._provider.close()
        for host in self._roster:
            if host.replica is not None:
                host.replica.close()
        if self._folder is not None:
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)

    def _take_last_words(self, listener: Listener, linked: list[RemoteHost]) -> None:
        """What hosts send of their logs before they end."""
        end = time.monotonic() + CLOSE_S
        while any(host.linked for host in linked) and time.monotonic() < end:
            _wait_for([listener.mailbox.fileno()], TURN_S)
            for news in listener.mailbox.take():
                if isinstance(news, Heard):
                    with contextlib.suppress(Unreadable, PreallocError):
                        found = wire.read_frame(news.raw, wire.from_host)
                        if isinstance(found.message, wire.Log) and (host := self._roster.get(news.link.name)):
                            self._log(host, found.message, found.body)

    # -- inside ---------------------------------------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        """Waits until something happens, and takes it in."""
        if self._listener is None:
            return
        ears = [self._listener.mailbox.fileno()]
        if self._provider is not None and self._provider.alive:
            ears.append(self._provider.fileno())
        if self._setup is not None and self._setup.limiter.has_waiting:
            timeout_s = min(timeout_s, AHEAD_S / 2)
        _wait_for(ears, min(timeout_s, TURN_S))
        for news in self._listener.mailbox.take():
            if isinstance(news, Opened | Heard | Closed):
                self._take(news)
        if self._provider is not None:
            for told in self._provider.news():
                self._hear_provider(told)
        self._look_for_the_lost()
        self._give_turns()
        self._sample()
        for host in self._roster:
            if host.replica is not None and (acks := host.replica.new_acks()):
                host.mention(wire.Ack(acks))
        self._give_out()

    def _sample(self) -> None:
        """Says, now and then, how the hosts are."""
        now = time.monotonic()
        if self._setup is not None and now >= self._sample_at:
            self._sample_at = now + SAMPLE_S
            self._events.append(HostsSampled(hosts=tuple(host.state() for host in self._roster.here)))

    def _say_all(self, message: wire.Message) -> None:
        for host in self._roster.here:
            host.say(message)

    def _echo(self, name: str, raw: bytes) -> bytes | None:
        """The answer to a beat, in the link's thread: how long it takes tells the clocks apart."""
        if b'["beat",' not in raw[:32]:
            return None
        now = time.monotonic()
        host = self._roster.get(name)
        try:
            beat = wire.read_frame(raw, wire.from_host).message
        except Unreadable:
            return None
        if host is None or not isinstance(beat, wire.Beat):
            return None
        return wire.frame(wire.Echo(beat.clock, now), seen=host.numbered.seen)

    def _give_turns(self) -> None:
        if self._setup is None:
            return
        limiter = self._setup.limiter
        # The way there and back, and a moment for each of the two that hand a turn on.
        ways_s = (host.beat.rtt_s or 0.0 for host in self._roster.here if host.beat is not None)
        limiter.ahead_s = 2 * AHEAD_S + 2 * max(ways_s, default=0.0)
        given: dict[str, list[wire.Turn]] = {}
        for (name, holder), turn, at, late_s in limiter.grants():
            given.setdefault(name, []).append(wire.Turn(holder, turn, at, late_s))
        for name, turns in given.items():
            if (host := self._roster.get(name)) is not None:
                host.say(wire.Go(tuple(turns)))

    # -- what a link says -----------------------------------------------------------------------------------

    def _take(self, news: Opened | Heard | Closed) -> None:
        host = self._roster.get(news.link.name)
        if host is None:
            news.link.abort()
        elif isinstance(news, Opened):
            pass  # it has shown its token; who it is, it says next
        elif isinstance(news, Closed):
            if news.link.broken:
                self._fence(host, news.link, f"it breaks the protocol: {news.reason}")
            if host.link is news.link:
                host.link = None
        else:
            try:
                self._hear(host, news.link, news.raw)
            except Unreadable as error:
                self._fence(host, news.link, f"it says what cannot be: {error}")

    def _hear(self, host: RemoteHost, link: Link, raw: bytes) -> None:
        found = wire.read_frame(raw, wire.from_host)
        if isinstance(found.message, wire.Hi):
            self._greet(host, link, found)
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

    def _greet(self, host: RemoteHost, link: Link, found: wire.Frame) -> None:
        hi: wire.Hi = found.message
        if host.hi is not None and hi.launch != host.hi.launch:
            self._send_away(link, f"{host.name} was started twice, and the other one was first")
            return
        if host.hi is None and hi.version != __version__:
            reason = f"it has prealloc {hi.version}, and the master has {__version__}"
            self._lose(host, reason)
            self._send_away(link, reason)
            self._broken_early(host, EngineError(reason, where=_where(host, hi), hint="install the same there"))
            return
        if host.link is not None:
            host.link.close()
        host.link, host.heard_at = link, time.monotonic()
        host.numbered.take(found)
        host.held = {*hi.held}
        acks = host.replica.begin_again() if host.replica is not None else {}
        link.send(host.numbered.plain(wire.Welcome(acks)))
        if host.over:
            host.mention(wire.Gone(self._why_over(host)))
            return
        for raw in host.numbered.again():
            link.send(raw)
        if host.hi is None:
            host.hi, host.stage, host.joined_at = hi, Stage.CHECKS, time.monotonic()
            self._ask_to_check(host)
        else:
            self._send_files(host)

    def _ask_to_check(self, host: RemoteHost) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        if self._code is not None:
            self._send_file(host, self._code)
        host.say(
            wire.Check(
                worker=wanted.worker,
                import_path=(*wanted.import_path, *_own_path()),
                libraries=wanted.library_paths,
                variables=wanted.variables,
                start_s=wanted.patience.most_s if wanted.patience.most_s < 1e9 else 1e9,
                environment=self._environment(),
                code=self._code,
            )
        )

    def _heed(self, host: RemoteHost, message: Any, body: bytes) -> None:
        if isinstance(message, wire.Lines):
            self._copy(host, message, body)
        elif isinstance(message, wire.Beat):
            ahead_s = message.wall - time.time()
            host.beat, host.unseen_jobs = msgspec.structs.replace(message, wall_s=ahead_s), 0
            host.draining = host.draining or message.draining
        elif isinstance(message, wire.Ask | wire.Done | wire.Leave):
            self._at_the_limiter(host, message)
        elif isinstance(message, wire.Told):
            self._told(host, message)
        elif isinstance(message, wire.Away):
            self._turned_away(host, message)
        elif isinstance(message, wire.Returned):
            self._returned(host, message)
        elif isinstance(message, wire.Ended):
            self._job_ended(host, message)
        elif isinstance(message, wire.Ready):
            self._is_ready(host, message)
        elif isinstance(message, wire.Broken):
            self._is_broken(host, message)
        elif isinstance(message, wire.Log):
            self._log(host, message, body)
        elif isinstance(message, wire.Bye):
            self._left(host, message.reason)

    def _is_ready(self, host: RemoteHost, message: wire.Ready) -> None:
        if host.stage is not Stage.CHECKS:
            return
        host.ready, host.stage, host.ready_at = message, Stage.READY, time.monotonic()
        if self._setup is None:
            return
        if message.unset:
            self._lose(host, f"the environment variable {', '.join(message.unset)} is not set there")
        elif not self._refuse_another_code(host):
            self._open(host)

    def _open(self, host: RemoteHost) -> None:
        setup = self._setup
        if setup is None or host.is_open:
            return
        host.is_open = True
        host.replica = Replica(
            host.name, setup, host.shards, self._next_incarnation, lambda line: self._holds(host, line)
        )
        host.say(
            wire.Open(
                session=setup.session,
                policy=setup.policy,
                slice_bytes=setup.slice_bytes,
                cleanup=setup.cleanup,
                room=self._options.room or 10_000,
                all_logs=self._options.logs == "all",
            )
        )
        hi = host.hi
        self._events.append(
            HostJoined(
                host=host.name,
                machine=hi.machine if hi is not None else "",
                room=self._options.room,
                waited_s=round(host.joined_at - host.asked_at, 3),
            )
        )

    def _is_broken(self, host: RemoteHost, message: wire.Broken) -> None:
        kinds: Iterable[type[PreallocError]] = (WorkerFunctionError, JournalError, EngineError, CannotGoOn)
        kind = next((each for each in kinds if each.__name__ == message.kind), EngineError)
        error = kind(message.problem, where=message.where, hint=message.hint)
        if not self._broken_early(host, error):
            self._lose(host, f"it cannot go on: {error.problem}", error)

    def _broken_early(self, host: RemoteHost, error: PreallocError) -> bool:
        """Whether that is still in time to refuse the run."""
        if self._setup is not None:
            return False
        self._broken.append(error)
        host.stage = Stage.LOST
        return True

    def _left(self, host: RemoteHost, reason: str) -> None:
        """It was told to end, and has told all it had to."""
        if host.jobs:
            self._lose(host, reason or "it has ended")
            return
        host.stage = Stage.LEFT
        if self._listener is not None:
            self._listener.strike(host.token)
        self._events.append(HostLost(host=host.name, reason=reason or "it has ended", shards=0))
        self._replace()

    # -- units ----------------------------------------------------------------------------------------------

    def _holds(self, host: RemoteHost, line: AttemptLine) -> bool:
        given, key = self._find(host, line.shard, line.task, line.repeat)
        if given is None or key is None:
            return False
        order = given.undecided[key]
        if not order.attempt <= line.attempt <= order.attempt + MOST_FURTHER_ATTEMPTS:
            raise Unreadable(f"attempt {line.attempt} of {line.shard}/{line.task}#{line.repeat} is not its own")
        return True

    @staticmethod
    def _find(host: RemoteHost, shard: str, task: str, repeat: int) -> tuple[Given | None, tuple[int, int] | None]:
        for given in host.jobs.values():
            if given.job.shard == shard and (key := given.key(task, repeat)) is not None:
                return given, key
        return None, None

    def _copy(self, host: RemoteHost, message: wire.Lines, body: bytes) -> None:
        if host.replica is None:
            raise Unreadable("lines of a session that it knows nothing of")
        for copied in host.replica.take(message.file, message.offset, body):
            self._line(host, copied)
        if not body.endswith(b"\n") and host.replica.begun_bytes > MOST_BEGUN:
            raise Unreadable(f"{MOST_BEGUN // 2**20} MB of lines that do not end")

    def _line(self, host: RemoteHost, copied: Copied) -> None:
        line = copied.line
        if copied.late or host.over:
            return
        if isinstance(line, SoloDeath):
            given, key = self._find(host, line.shard, line.task, line.repeat)
            if given is not None and key is not None:
                given.deaths[key] = given.deaths.get(key, 0) + 1
                given.undecided[key] = given.undecided[key]._replace(attempt=line.attempt + 1)
        if not isinstance(line, AttemptLine):
            return
        given, key = self._find(host, line.shard, line.task, line.repeat)
        if given is None or key is None:
            return
        order = given.undecided[key]
        host.decided = True
        if self._lost_idle:
            self._lost_idle = 0
            self._replace()
        self._lost_on.pop(line.shard, None)
        event = AttemptEnded.of(line, given.job.ids[key[0]][1])
        if (key, line.attempt) in given.began:
            given.began.discard((key, line.attempt))
        else:
            self._events.append(
                AttemptStarted(shard=line.shard, task=line.task, repeat=line.repeat, attempt=line.attempt)
            )
        if line.status is Status.INFRA and not line.again and line.lane is not None:
            given.undecided[key] = order._replace(attempt=line.attempt + 1, waited_s=line.waiting_s)
            given.judged.add((key, line.attempt))
            if (verdict := given.verdicts.pop((key, line.attempt), None)) is not None:
                self._heed(host, verdict, b"")
            return  # whether its lane has turned it away, the host says
        given.ended(key, line)
        if line.status is Status.CANCELLED and host.draining and not self._stopping:
            given.again[key] = order._replace(attempt=line.attempt + 1)
            event = msgspec.structs.replace(event, outcome=False)
        self._events.append(event)

    def _judged(self, host: RemoteHost, message: wire.Told | wire.Away) -> tuple[Given, tuple[int, int]] | None:
        """The unit of an ending whose meaning the host says, if its line is in the journal; else that waits for it."""
        event = message.ended if isinstance(message, wire.Away) else message.event
        if not isinstance(event, AttemptEnded):
            return None
        given, key = self._find(host, event.shard, event.task, event.repeat)
        if given is None or key is None:
            return None
        if event.host != host.name or event.status is not Status.INFRA:
            raise Unreadable(f"it judges {event.shard}/{event.task}#{event.repeat}, which is not its own")
        if (key, event.attempt) not in given.judged:
            given.verdicts[key, event.attempt] = message
            return None
        given.judged.discard((key, event.attempt))
        return given, key

    def _told(self, host: RemoteHost, message: wire.Told) -> None:
        event: Event = message.event
        if isinstance(event, AttemptEnded):
            if (found := self._judged(host, message)) is not None:
                given, key = found
                del given.undecided[key]
                self._events.append(event)
            return
        shard = getattr(event, "shard", None)
        if (
            shard is not None
            and shard not in host.shards
            and not (isinstance(event, LibraryOpenedByWorker) and not shard)
        ):
            raise Unreadable(f"it speaks of shard {shard!r}, which was not given to it")
        if isinstance(event, AttemptStarted):
            holding, at = self._find(host, event.shard, event.task, event.repeat)
            if holding is None or at is None or event.attempt < holding.undecided[at].attempt:
                return
            holding.began.add((at, event.attempt))
        if getattr(event, "host", host.name) != host.name:
            raise Unreadable("it speaks for another host")
        if isinstance(event, ShardStarted):
            host.workers.add((event.shard, event.pid))
        elif isinstance(event, WorkerLost | WorkerGone):
            host.workers.discard((event.shard, event.pid))
        if isinstance(event, ShardStarted) and host.replica is not None:
            number = host.replica.incarnation(event.shard, event.incarnation)
            event = msgspec.structs.replace(event, incarnation=number)
        if isinstance(event, Note):
            event = Note(text=f"{host.name}: {self._as_here(host, event.text)}")
        self._events.append(event)

    def _as_here(self, host: RemoteHost, text: str) -> str:
        """Logs come to the run's folder, and the spool is gone at the end."""
        if self._setup is None or host.hi is None or not host.hi.spool:
            return text
        return text.replace(f"{host.hi.spool}/", f"{self._setup.paths.root}/")

    def _turned_away(self, host: RemoteHost, message: wire.Away) -> None:
        found = self._judged(host, message)
        if found is not None and found[0].job.number == message.job:
            given, key = found
            order = given.undecided[key]
            given.undecided[key] = order._replace(
                attempt=max(order.attempt, message.ended.attempt + 1), waited_s=message.ended.waiting_s
            )
            self._events.append(TurnedAway(job=message.job, ended=message.ended))

    def _taken(self, given: Given, held: wire.Held) -> Units:
        """Units that a host gives back. Raises Unreadable if it does not have them."""
        keys = [(order.position, order.repeat) for order in held.orders]
        for key, order in zip(keys, held.orders, strict=True):
            known = given.undecided.get(key)
            if known is None or order.attempt > known.attempt + MOST_FURTHER_ATTEMPTS or keys.count(key) > 1:
                raise Unreadable(f"it gives back unit {key}, which it does not have")
        for key in keys:
            del given.undecided[key]
        units = held.units()
        return units._replace(alone=units.alone & {*keys})

    def _returned(self, host: RemoteHost, message: wire.Returned) -> None:
        given = host.jobs.get(message.job)
        if given is not None:
            units = self._taken(given, message.units)
            self._events.append(UnitsReturned(job=message.job, shard=given.job.shard, units=units))

    def _job_ended(self, host: RemoteHost, message: wire.Ended) -> None:
        given = host.jobs.get(message.job)
        if given is None:
            return
        units = self._taken(given, message.left)
        del host.jobs[message.job]
        if host.replica is not None and not any(each.job.shard == given.job.shard for each in host.jobs.values()):
            host.replica.finish(given.job.shard)
        self._blobs.pop(given.file, None)
        more = Units((*given.again.values(), *given.rest), frozenset(), given.deaths)
        if more.orders:
            units = units.with_more(more)
        self._events.append(JobEnded(job=message.job, shard=given.job.shard, left=units))

    # -- jobs -----------------------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """Gives the jobs that wait to hosts that have room."""
        for job in list(self._waiting):
            near = [host for host in self._roster if host.free and not self._too_far(host, job.lane)]
            if near:
                self._waiting.remove(job)
                self._give(max(near, key=lambda host: host.free), job)

    def _too_far(self, host: RemoteHost, lane: str | None) -> bool:
        """Whether the way to a host is so long that a lane's limit might not hold there. Told once of each."""
        if lane is None or self._setup is None or (window_s := self._setup.limiter.window_s(lane)) is None:
            return False
        rtt_s = host.beat.rtt_s if host.beat is not None else None
        if rtt_s is not None and rtt_s <= MOST_OF_WINDOW * window_s:
            return False
        if rtt_s is None:
            return True  # it is not known yet
        if (host.name, lane) not in self._far:
            self._far.add((host.name, lane))
            told = f"{host.name} gets no shards of lane {lane}: a message takes {rtt_s * 1000:.0f} ms there and back"
            self._events.append(Note(text=f"{told}, too long for its limit per {window_s:g} s"))
            here = [each for each in self._roster.here if each.stage is Stage.READY]
            if not self._roster.expected and all((each.name, lane) in self._far for each in here):
                hint = "give the lane a limit per minute, or run the master nearer to the hosts"
                raise EngineError(f"every host is too far away for lane {lane}", hint=hint)
        return True

    def _give(self, host: RemoteHost, job: ShardJob) -> None:
        setup = self._setup
        if setup is None:
            return
        orders: Sequence[UnitOrder] = job.orders
        rest: Sequence[UnitOrder] = ()
        if self._lost_on[job.shard] >= LOST_IN_A_ROW:  # one of its units may end machines: each by itself
            orders, rest = orders[:1], orders[1:]
            job = msgspec.structs.replace(job, policy=msgspec.structs.replace(job.policy, concurrency=1))
        given = Given(job, orders, rest)
        host.jobs[job.number] = given
        host.unseen_jobs += 1
        positions = given.positions
        host.shards[job.shard] = PlannedShard(positions, tuple(type for _, type in job.ids), job.manifest.repeats)
        raw = msgspec.json.encode(wire.Job.of(job, orders))
        self._send_file(host, job.manifest.slice.sha256)
        digest = self._keep(raw)
        self._send_file(host, digest)
        given.file = digest
        if host.replica is not None:
            host.replica.owe(job.due)
        host.say(wire.Run(digest, job.manifest.slice.sha256))

    def _send_file(self, host: RemoteHost, sha256: str) -> None:
        """Once per host."""
        if sha256 in host.held:
            return
        host.held.add(sha256)
        raw = self._blobs.get(sha256)
        if raw is None:
            raw = self._slice(sha256)
        for offset in range(0, max(1, len(raw)), wire.PIECE):
            host.mention_bulk(wire.Blob(sha256, offset, len(raw)), raw[offset : offset + wire.PIECE])

    def _slice(self, sha256: str) -> bytes:
        if self._setup is None:
            return b""
        jobs = [given.job for host in self._roster for given in host.jobs.values()]
        ref = next(job.manifest.slice for job in jobs if job.manifest.slice.sha256 == sha256)
        return Slice(self._setup.paths.plan, ref).checked().raw

    def _send_files(self, host: RemoteHost) -> None:
        """What was on its way when the connection ended."""
        if self._code is not None:
            self._send_file(host, self._code)
        for given in host.jobs.values():
            self._send_file(host, given.job.manifest.slice.sha256)
            self._send_file(host, given.file)

    def _give_back_waiting(self, which: Any) -> None:
        for job in [job for job in self._waiting if which(job)]:
            self._waiting.remove(job)
            units = Units(tuple(job.orders), job.alone, job.deaths, tuple(job.due))
            self._events.append(JobEnded(job=job.number, shard=job.shard, left=units))

    def _next_incarnation(self, shard: str) -> int:
        self._incarnations[shard] += 1
        return self._incarnations[shard]

    # -- lanes ----------------------------------------------------------------------------------------------

    def _at_the_limiter(self, host: RemoteHost, message: wire.Ask | wire.Done | wire.Leave) -> None:
        if self._setup is None:
            return
        lanes = {given.job.lane for given in host.jobs.values()}
        holder = host.name, message.holder
        limiter = self._setup.limiter
        if isinstance(message, wire.Ask):
            if message.lane not in lanes:
                raise Unreadable(f"it asks for turns of lane {message.lane!r}, which none of its shards is on")
            host.asking.add((message.lane, message.holder))
            limiter.ask(message.lane, holder, message.turn, message.tokens)
        elif (message.lane, message.holder) not in host.asking:
            return
        elif isinstance(message, wire.Done):
            limiter.done(message.lane, holder, message.turn, message.tokens, message.answer)
        else:
            host.asking.discard((message.lane, message.holder))
            limiter.leave(message.lane, holder)

    # -- life and death -------------------------------------------------------------------------------------

    def _hear_provider(self, told: Started | Gone | ProviderLost) -> None:
        if isinstance(told, ProviderLost):
            self._last_words = told.reason
            self._events.append(Note(text=f"{self.name}: {told.reason}; no further host can be had, those here go on"))
            return
        host = self._roster.get(told.name)
        if host is None:
            return
        if isinstance(told, Started):
            host.handle = told.handle
        else:
            host.gone = told.reason
            if told.refused and not host.over:
                self._last_words = told.reason
                host.stage = Stage.LOST
                if not self._roster.here and not self._roster.expected:
                    raise EngineError(f"{self.name} refuses to start hosts: {told.reason}", hint=self._hint())

    def _look_for_the_lost(self) -> None:
        now = time.monotonic()
        for host in self._roster:
            if host.over:
                continue
            if host.gone is not None and not host.linked:
                self._lose(host, host.gone)
            elif host.stage is not Stage.ASKED and now - host.heard_at > PATIENCE * self._options.lease_s:
                self._lose(host, f"nothing was heard of it for {PATIENCE * self._options.lease_s:g} s")

    def _fence(self, host: RemoteHost, link: Link, reason: str) -> None:
        """It has said what no host of ours says: nothing that it says counts any more."""
        self._send_away(link, reason)
        if host.hi is not None or host.link is link:
            self._lose(host, reason)

    def _send_away(self, link: Link, reason: str) -> None:
        link.send(wire.frame(wire.Gone(reason)))
        link.close()

    @staticmethod
    def _why_over(host: RemoteHost) -> str:
        return "it was given up, and what it had runs elsewhere"

    def _lose(self, host: RemoteHost, reason: str, error: PreallocError | None = None) -> None:
        """Closes its name for good; what it had not decided runs elsewhere, with other attempt numbers."""
        if host.over:
            return
        host.stage = Stage.LOST
        if host.replica is not None:
            host.replica.fenced = True
        if host.link is not None:
            host.mention(wire.Gone(reason))
            host.link.close()
        if self._provider is not None:
            self._provider.stop(host.name)
        if self._setup is not None:
            for lane, holder in host.asking:
                self._setup.limiter.leave(lane, (host.name, holder))
        host.asking.clear()
        self._last_words = f"{host.name}: {reason}"
        jobs, host.jobs = host.jobs, {}
        if self._setup is not None:
            self._events.append(HostLost(host=host.name, reason=reason, shards=len(jobs)))
        gone = sorted(host.workers)
        self._events += [WorkerGone(shard=shard, pid=pid, host=host.name) for shard, pid in gone]
        for given in jobs.values():
            self._blobs.pop(given.file, None)
            self._requeue(given, reason, host.replica)
        young = host.ready_at is None or time.monotonic() - host.ready_at < YOUNG_S
        if young and not host.decided and not self._stopping:
            self._lost_idle += 1
            if self._lost_idle >= LOST_IN_A_ROW:
                self._give_up_on_more(error)
                return
        self._replace()

    def _give_up_on_more(self, error: PreallocError | None) -> None:
        """Hosts are lost in a row before they decide anything. Those that work go on; without one, the run ends."""
        if any(host.stage is Stage.READY and host.linked for host in self._roster):
            return
        if isinstance(error, CannotGoOn):
            raise error
        problem = f"{LOST_IN_A_ROW} hosts in a row were lost before they decided anything; the last was"
        raise EngineError(f"{problem} {self._last_words}", hint=self._hint())

    def _requeue(self, given: Given, reason: str, replica: Replica | None) -> None:
        """A lost host is nobody's fault, but what is lost with hosts again and again may be."""
        shard = given.job.shard
        poisonous = self._lost_on[shard] >= LOST_IN_A_ROW
        self._lost_on[shard] += 1
        for key, order in list(given.undecided.items()) if poisonous else ():
            given.deaths[key] = given.deaths.get(key, 0) + 1
            self._count_death(given, key, order, f"its host was lost: {reason}")
        left = given.left()
        if replica is not None and self._setup is not None and self._setup.cleanup is not None:
            left = left._replace(due=replica.due(shard))
        self._events.append(JobEnded(job=given.job.number, shard=shard, left=left))

    def _count_death(self, given: Given, key: tuple[int, int], order: UnitOrder, reason: str) -> None:
        setup = self._setup
        if setup is None:
            return
        shard, (task, type_) = given.job.shard, given.job.ids[key[0]]
        attempt = order.attempt
        setup.journal.append(SoloDeath(shard=shard, task=task, repeat=key[1], attempt=attempt, reason=reason))
        if given.deaths[key] < SOLO_DEATHS:
            return
        line = AttemptLine(
            shard=shard,
            task=task,
            repeat=key[1],
            attempt=attempt,
            status=Status.CRASHED,
            started_at=time.time(),
            queued_s=0.0,
            waiting_s=0.0,
            working_s=0.0,
            peak_rss=0,
            lane=given.job.lane,
            error=ErrorInfo(
                type="Crashed", message=f"{given.deaths[key]} hosts were lost while it ran alone: {reason}"
            ),
        )
        setup.journal.append(line)
        del given.undecided[key]
        self._lost_on.pop(shard, None)
        self._events.append(AttemptEnded.of(line, type_))

    def _replace(self) -> None:
        """Asks for others in the place of those that are gone, while there is something to run."""
        if self._stopping or self._setup is None:
            return
        alive = len(self._roster.here) + len(self._roster.expected)
        if self._provider is not None and self._provider.alive:
            for _ in range(alive, self._options.hosts):
                self._ask_for_one()
        elif not alive:
            raise EngineError(f"all hosts are gone; the last was {self._last_words}", hint="`prealloc resume` goes on")

    def _log(self, host: RemoteHost, message: wire.Log, body: bytes) -> None:
        """Adds a part of a shard's log to the run's."""
        setup = self._setup
        if setup is None or message.shard not in host.shards:
            return
        from prealloc.engines.log import open_log

        with must_write(setup.paths.log(message.shard)), open(open_log(setup.paths.log(message.shard)), "ab") as file:
            file.write(body)


class Seen(NamedTuple):
    """A host as it is seen from here."""

    name: str
    machine: str
    handle: str | None
    address: str
    """Where it has reached the master."""
    rtt_s: float
    wall_s: float
    """What its wall clock is ahead of ours."""
    spool_left: int
    python: str
    version: str

    @classmethod
    def of(cls, hi: wire.Hi, beat: wire.Beat, handle: str | None, name: str, address: str) -> Seen:
        return cls(
            name, hi.machine, handle, address, beat.rtt_s or 0.0, beat.wall_s, beat.spool_left, hi.python, hi.version
        )


def _where(host: RemoteHost, hi: wire.Hi) -> str:
    return f"{host.name} on {hi.machine}"


def _together(errors: Sequence[PreallocError]) -> PreallocError:
    """What several hosts have found: one error, if it is the same everywhere."""
    texts = dict.fromkeys(error.problem for error in errors)
    if len(texts) == 1:
        return errors[0]
    first = errors[0]
    return type(first)("; ".join(texts), where=first.where, hint=first.hint)


def _own_path() -> list[str]:
    """Where this process imports from, beside what is installed: the same folders may be there on a host."""
    installed = tuple({os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)})
    return [path for path in sys.path if os.path.isabs(path) and not os.path.realpath(path).startswith(installed)]


def _allow_open_files() -> None:
    """A link to each host and a file for each worker are open here: that may be more than the usual limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(most, OPEN_FILES)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _wait_for(descriptors: Sequence[int], timeout_s: float) -> None:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll(timeout_s * 1000)
