"""`prealloc host`: runs shards on some machine for a master that is elsewhere.

It is the local engine in a folder of its own, a copy of its journal on the way to the master, and a link. It never
outlives the master by more than the lease: without a word for that long it ends, with all that it runs.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from prealloc._version import __version__
from prealloc.engines.admission import MOST_WORKERS
from prealloc.engines.base import Patience, RunSetup, WorkerCheck
from prealloc.engines.fork_launcher import ForkServerLauncher
from prealloc.engines.handover import JobEnded, TurnedAway, UnitsReturned
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.caller import Caller
from prealloc.engines.hosts.limiter import MasterClock, RemoteLimiter
from prealloc.engines.hosts.link import Closed, Failed, Heard, Link, Opened
from prealloc.engines.hosts.ship import module_digest, unpacked
from prealloc.engines.hosts.spec import HostSpec
from prealloc.engines.hosts.spool import Spool
from prealloc.engines.local import LocalEngine
from prealloc.engines.server_process import ServerProcess
from prealloc.errors import CannotGoOn, EngineError, PreallocError
from prealloc.model.document import Unreadable
from prealloc.model.events import AttemptEnded, AttemptStarted, Event
from prealloc.processes.signals import handled
from prealloc.processes.waiting import await_readable
from prealloc.store.journal_writer import JournalWriter
from prealloc.worker.guard import library_files

BEAT_S = 1.0
NEWS_S = 0.1
"""What has changed of its state is told this soon."""
TURN_S = 0.1
PAUSE_S = 0.005
"""Turns are this far apart at least: what many workers say within that time crosses the link together."""
NEWS_APART_S = 0.05
"""What has happened is sent this far apart, where nobody waits for it."""
MOST_TOLD = 50
"""Events in one message."""
MEMORY_S = 2.0
JOIN_S = 30.0
"""So long at least a host waits for the master's first word, whatever the lease: nothing runs there yet, and on a busy
machine the way to it takes seconds.
"""

SENT_AWAY, LEASE_OVER = 1, 3
"""Exit codes: the master has no use for it; nothing was heard of the master, or it cannot go on."""


class _Over(Exception):  # it ends the loop
    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason


class Host:
    """One host, from its start to its end."""

    def __init__(self, spec: HostSpec, spool: Path, server: ServerProcess | None, *, with_parent: bool) -> None:
        """`with_parent`: it ends when the process that has started it ends."""
        self._spec = spec
        self._with_parent = with_parent
        self._launcher = ForkServerLauncher(server) if server is not None else None
        """It was started before the master has said anything."""
        self._spool = Spool(spool)
        self._launch = secrets.token_hex(16)
        self._numbered = wire.Numbered()
        self._clock = MasterClock()
        self._limiter = RemoteLimiter(self._say, self._clock)
        self._caller = Caller(spec)
        self._link: Link | None = None
        self._welcome = False
        """The master has said what it has of our files: lines may be sent."""
        self._checked: LocalEngine | None = None
        """It has imported the worker function, or tries to."""
        self._engine: LocalEngine | None = None
        """The same, once there is a session."""
        self._journal: JournalWriter | None = None
        self._check: wire.Check | None = None
        self._import_path: tuple[str, ...] = ()
        self._room = 0
        self._jobs: dict[int, str] = {}
        """The shards of the jobs that run."""
        self._ends: list[tuple[JobEnded, dict[str, int]]] = []
        """Ends of jobs that wait until the master has all lines, and which those are."""
        self._awaits = False
        """One of them is new: the master is to be told."""
        self._waiting: list[wire.Check | wire.Run] = []
        """What needs files that have not come yet."""
        self._stopped: list[wire.Halt | wire.Drain] = []
        """What holds for jobs that are launched from now on, too."""
        self._signals: list[int] = []
        self._finished = False
        """The run is over: nothing of what was written is needed any more."""
        self._draining = False
        self._turn_at = self._news_due_at = self._beat_at = self._news_at = self._memory_at = -math.inf
        self._untold: dict[Hashable, Event] = {}
        """Events that go with the next lines; starts by their attempts."""
        self._has_news = False
        """Something has happened since lines were sent."""
        self._memory: dict[str, int] = {}
        self._told: tuple[Any, ...] = ()

    # -- its loop -------------------------------------------------------------------------------------------

    def serve(self) -> int:
        """Until it is sent away, or the run is over, or it has heard nothing for the lease."""
        watch = threading.Thread(target=self._watch, args=(os.getppid(),), daemon=True)
        with handled(lambda number, frame: self._signals.append(number)):
            watch.start()
            try:
                while True:
                    self._turn()
            except _Over as over:
                if over.reason:
                    note(f"{self._spec.name}: {over.reason}")
                return over.code
            except CannotGoOn as error:
                self._break(error)
                return LEASE_OVER
            except Exception as error:  # a mistake of ours: whoever reads the run's end should know it
                self._break(EngineError(f"{type(error).__name__}: {error}"))
                raise
            finally:
                self._close()

    def _turn(self) -> None:
        time.sleep(max(0.0, self._turn_at + PAUSE_S - time.monotonic()))
        self._turn_at = time.monotonic()
        self._heed_signals()
        for news in self._caller.mailbox.take():
            self._take(news)
        self._send_ends()  # before it waits: what they have waited for may have come
        if self._engine is not None:
            self._pass_on(self._engine.wait(0.0 if self._limiter.has_grants else self._pause_s()))
        else:
            await_readable([self._caller.mailbox.fileno()], TURN_S)
        self._send_news()
        self._beat()

    def _pause_s(self) -> float:
        """How long nothing has to be done if nothing happens."""
        if self._news_at == -math.inf and self._link is not None:  # the master waits to hear of us
            return 0.0
        return min(TURN_S, max(0.0, self._news_due_at - time.monotonic())) if self._has_news else TURN_S

    def _heed_signals(self) -> None:
        """Asked to end: what runs may come to its end, within the time to drain; asked again, it is cancelled."""
        if self._signals and self._checked is None:
            raise _Over(0, "it was told to end")
        if self._signals and not self._draining:
            self._draining = True
            note(f"{self._spec.name}: it was told to end; what runs may end")
            if self._engine is not None:
                self._engine.drain()
        elif len(self._signals) > 1 and self._engine is not None:
            del self._signals[1:]
            self._engine.stop()
        if self._draining and not (self._jobs or self._ends or self._untold) and self._numbered.all_seen:
            if self._link is not None:
                self._link.send(self._numbered.plain(wire.Bye("it was told to end")))
                self._send_logs()
            raise _Over(0)

    def _watch(self, parent: int) -> None:
        """In a thread of its own: ends all when the lease is over, or who has started us is gone."""
        began = time.monotonic()
        while True:
            time.sleep(min(0.1, self._spec.lease_s / 10))
            silent_s = time.monotonic() - max(began, self._caller.heard_at)
            most_s = self._spec.lease_s if self._caller.heard_at else max(JOIN_S, self._spec.lease_s)
            if silent_s > most_s:
                tried = f"; the last try to connect: {self._caller.problem}" if self._caller.problem else ""
                self._end_at_once(f"no word from the master for {most_s:g} s{tried}")
            if self._with_parent and os.getppid() != parent:
                self._end_at_once("the process that has started it is gone")

    def _end_at_once(self, reason: str) -> NoReturn:
        """Our own end is heard by the fork server, which kills everything below it."""
        with contextlib.suppress(BaseException):
            note(f"{self._spec.name}: {reason}")
            if self._spec.spool is None:
                shutil.rmtree(self._spool.paths.root, ignore_errors=True)
        os._exit(LEASE_OVER)

    def _close(self) -> None:
        self._caller.stop()
        if self._link is not None:  # first: the master waits for it, and ends beside us
            self._link.close()
        if self._checked is not None:
            self._checked.close()
        if self._launcher is not None:
            self._launcher.close()
        if self._journal is not None:
            self._journal.close()
        self._caller.close()
        if self._finished:
            self._spool.remove()

    def _break(self, error: PreallocError) -> None:
        """Says why it cannot go on."""
        note(f"{self._spec.name}: {error}")
        if self._link is not None:
            self._link.send(self._numbered.number(_broken(error)))

    # -- what the master says -------------------------------------------------------------------------------

    def _take(self, news: Opened | Heard | Closed | Failed) -> None:
        if isinstance(news, Failed):
            if news.final:
                raise _Over(LEASE_OVER, f"the master is gone: {news.reason}")
            return
        if isinstance(news, Opened):
            self._link, self._welcome = news.link, False
            self._link.send(
                self._numbered.plain(
                    wire.Hi(
                        launch=self._launch,
                        version=__version__,
                        python=sys.version.split()[0],
                        machine=socket.gethostname(),
                        room=self._spec.room,
                        held=self._spool.held(),
                        spool=str(self._spool.paths.root),
                    )
                )
            )
            return
        if news.link is not self._link:
            return
        if isinstance(news, Closed):
            self._link, self._welcome = None, False
            return
        try:
            found = wire.read_frame(news.raw, wire.to_host)
            if self._numbered.take(found):
                self._obey(found.message, found.body, news.at)
        except Unreadable as error:
            raise _Over(LEASE_OVER, f"the master says what cannot be read: {error}") from None

    def _obey(self, message: Any, body: bytes, at: float) -> None:
        if isinstance(message, wire.Echo):
            self._clock.heard(message.clock, message.master, at)
        elif isinstance(message, wire.Ack):
            self._spool.ack(message.files)
        elif isinstance(message, wire.Go):
            self._limiter.come(message.turns)
        elif isinstance(message, wire.Blob):
            self._spool.take(message, body)
            self._go_on()
        elif isinstance(message, wire.Welcome):
            self._spool.begin_again(message.acks)
            self._welcome, self._awaits = True, bool(self._ends)
            for raw in self._numbered.again():
                self._send(raw)
        elif isinstance(message, wire.Check | wire.Run):
            self._waiting.append(message)
            self._go_on()
        elif isinstance(message, wire.Open):
            self._open(message)
        elif isinstance(message, wire.Gone):
            self._last_lines()
            raise _Over(SENT_AWAY, f"sent away: {message.reason}")
        elif isinstance(message, wire.Bye):
            self._send_logs()
            self._finished = True
            raise _Over(0)
        else:
            self._to_the_engine(message)

    def _to_the_engine(self, message: Any) -> None:
        engine = self._engine
        if engine is None:
            return
        if isinstance(message, wire.Halt | wire.Drain):
            self._stopped.append(message)
        if isinstance(message, wire.HandBack):
            engine.hand_back(message.job, message.units)
        elif isinstance(message, wire.Allow):
            engine.allow(message.tasks)
        elif isinstance(message, wire.Halt):
            if message.lane is not None:
                self._limiter.halt(message.lane, message.reason or "", key_refused=message.key_refused)
            engine.halt(message.lane)
        elif isinstance(message, wire.Drain):
            engine.drain()
        elif isinstance(message, wire.Stop):
            engine.stop()

    def _look(self, message: wire.Check) -> None:
        """Imports the worker function, and says how that went."""
        os.environ.update(message.environment)
        path = message.import_path
        if message.code is not None:
            path = (str(unpacked(self._spool.file(message.code), self._spool.paths.root / "code")), *path)
        libraries = library_files(message.libraries)
        self._check, self._import_path = message, path
        launcher = self._launcher if not message.environment else None  # it was started before, without these keys
        engine = self._checked = LocalEngine(launcher, ear=self._caller.mailbox.fileno())
        wanted = WorkerCheck(
            message.worker, path, libraries, message.variables, Patience(message.start_s, self._during_an_import)
        )
        try:
            checked = engine.check(wanted)
        except PreallocError as error:
            self._say(_broken(error))
            return
        self._say(
            wire.Ready(
                notes=tuple(checked.notes),
                unset=tuple(checked.unset),
                digest=module_digest(message.worker, path),
            )
        )

    def _during_an_import(self) -> None:
        """The link must not stand still. What else comes waits."""
        if self._link is not None and self._link.open:
            self._beat()

    def _open(self, message: wire.Open) -> None:
        if self._checked is None or self._check is None:
            raise Unreadable("a session before a check")
        self._journal = JournalWriter(self._spool.paths.supervisor_journal(message.session), fsync=message.policy.fsync)
        setup = RunSetup(
            paths=self._spool.paths,
            session=message.session,
            worker=self._check.worker,
            import_path=self._import_path,
            limiter=self._limiter,
            policy=message.policy,
            slice_bytes=message.slice_bytes,
            journal=self._journal,
            host=self._spec.name,
            cleanup=message.cleanup,
        )
        self._engine = self._checked
        self._engine.open(setup)
        self._spool.whole_logs = message.all_logs
        room = self._spec.room or self._engine.most_jobs(MOST_WORKERS, message.slice_bytes)
        self._room = self._engine.allowed(min(room, message.room))[0]
        self._news_at = -math.inf  # the master waits to hear of the room

    def _go_on(self) -> None:
        """Does what has waited for files, in order."""
        while self._waiting and self._has_files(self._waiting[0]):
            message = self._waiting.pop(0)
            if isinstance(message, wire.Check):
                self._look(message)
            else:
                self._run(message)

    def _has_files(self, message: wire.Check | wire.Run) -> bool:
        needed = (message.code,) if isinstance(message, wire.Check) else (message.job, message.slice)
        return all(self._spool.file(each).exists() for each in needed if each is not None)

    def _run(self, message: wire.Run) -> None:
        if self._engine is None:
            raise Unreadable("a job before a session")
        path = self._spool.file(message.job)
        job = wire.unpack_job(path.read_bytes())
        path.unlink()
        self._jobs[job.number] = job.shard
        self._engine.launch(job)
        for told in self._stopped:
            self._engine.drain() if isinstance(told, wire.Drain) else self._engine.halt(told.lane)
        if self._draining:
            self._engine.drain()

    # -- what it says ---------------------------------------------------------------------------------------

    def _say(self, message: wire.Message) -> None:
        """Surely, once, in order."""
        raw = self._numbered.number(message)
        if self._welcome:
            self._send(raw)

    def _send(self, raw: bytes) -> None:
        if self._link is not None:
            self._link.send(raw)

    def _pass_on(self, events: Sequence[Event]) -> None:
        self._has_news = self._has_news or bool(events)
        for event in events:
            if isinstance(event, JobEnded):
                del self._jobs[event.job]
                self._ends.append((event, self._spool.sizes()))
                self._awaits = True
            elif isinstance(event, UnitsReturned):
                self._tell()  # all in the order in which it has happened
                self._say(wire.Told((event,)))
            elif isinstance(event, AttemptEnded | TurnedAway):  # the master makes it, and its start, from the line
                self._untold.pop(_attempt(event.ended if isinstance(event, TurnedAway) else event), None)
            else:
                self._untold[_attempt(event) if isinstance(event, AttemptStarted) else id(event)] = event

    def _tell(self) -> None:
        events, self._untold = tuple(self._untold.values()), {}
        for at in range(0, len(events), MOST_TOLD):
            self._say(wire.Told(events[at : at + MOST_TOLD]))  # type: ignore[arg-type]  # an engine tells no other kind

    def _send_news(self) -> None:
        """What has happened goes together, unless somebody waits for it."""
        if not self._ends and time.monotonic() < self._news_due_at:
            return
        self._news_due_at, self._has_news = time.monotonic() + NEWS_APART_S, False
        self._tell()
        self._send_lines()

    def _send_lines(self) -> None:
        if self._welcome:
            for lines, raw in self._spool.pieces():
                self._send(self._numbered.plain(lines, raw))
            if self._awaits:
                self._awaits = False
                self._send(self._numbered.plain(wire.Awaited()))

    def _last_lines(self) -> None:
        """What was written until now is evidence, though it decides nothing."""
        if self._engine is not None:
            self._engine.close()
        self._send_lines()

    def _send_ends(self) -> None:
        while self._ends and self._spool.is_acked(self._ends[0][1]):
            ended, _ = self._ends.pop(0)
            self._say(wire.Told((ended,)))
            self._send_log(ended.shard)

    def _send_logs(self) -> None:
        for shard in {*self._spool.logs_sent, *self._jobs.values()}:
            self._send_log(shard)

    def _send_log(self, shard: str) -> None:
        """What has been added to it, when nothing else waits."""
        if self._link is not None:
            log = wire.Log(shard)
            self._link.feed(self._numbered.plain(log, raw) for raw in self._spool.more_of_log(shard))

    def _beat(self) -> None:
        now = time.monotonic()
        if self._link is None or now - self._news_at < NEWS_S:
            return
        self._news_at = now
        room, unbegun = 0, {}
        if (engine := self._engine) is not None:
            coming = sum(isinstance(each, wire.Run) for each in self._waiting)
            room = max(0, min(self._room - len(self._jobs), engine.room().jobs) - coming) if not self._draining else 0
            unbegun = dict(engine.unbegun())
            if now - self._memory_at > MEMORY_S:
                self._memory_at = now
                self._memory = dict(engine.memory())
        told = (room, unbegun, self._draining)
        if self._clock.is_sound and now - self._beat_at < BEAT_S and told == self._told:
            return
        self._beat_at, self._told = now, told
        beat = wire.Beat(
            clock=time.monotonic(),
            rtt_s=self._clock.rtt_s,
            ahead_s=self._clock.ahead_s,
            room=room,
            memory=self._memory,
            unbegun=unbegun,
            spool_left=self._spool.left_bytes(),
            wall=time.time(),
            draining=self._draining,
        )
        self._send(self._numbered.plain(beat))


def _attempt(event: AttemptStarted | AttemptEnded) -> Hashable:
    return event.shard, event.task, event.repeat, event.attempt


def _broken(error: PreallocError) -> wire.Broken:
    return wire.Broken(type(error).__name__, error.problem, error.where, error.hint)


def note(text: str) -> None:
    """Whoever has started the host keeps its standard error."""
    print(f"prealloc host: {text}", file=sys.stderr, flush=True)  # noqa: T201
