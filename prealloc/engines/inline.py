"""The inline engine: every task in this very thread, one after another. For debuggers and tests.

Where this thread runs an event loop, the tasks of a shard run in one thread beside it.

It cannot stop what hangs or see who opens the library, and its facts say so.

What a task prints goes to its shard's log, as everywhere: stdout is for the reporter. Only where stdin and stdout are
both a terminal it is shown as it comes, since the user may be in a debugger, which uses both.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO, TypeVar

from prealloc.engines.admission import Room
from prealloc.engines.base import Checked, Engine, EngineFacts, RunSetup, ShardJob, WorkerCheck
from prealloc.engines.deaths import is_turned_away
from prealloc.engines.handover import JobEnded, TurnedAway, units_of
from prealloc.engines.log import cut_back
from prealloc.engines.worker_process import events_of, not_closed
from prealloc.errors import EngineError, WorkerFunctionError
from prealloc.lanes.limiter import AHEAD_S, Turns
from prealloc.model.events import AttemptEnded, Event, Note, ShardStarted
from prealloc.model.outcome import Answer
from prealloc.store.journal_lines import CleanedUp
from prealloc.store.journal_writer import JournalWriter
from prealloc.worker.alone import Alone
from prealloc.worker.attempt import Ending, Running
from prealloc.worker.cleanup import call_cleanup
from prealloc.worker.function import WorkerFunction, brief_error, load_function, unset
from prealloc.worker.in_flight import NOBODY_ELSE, InFlightTable
from prealloc.worker.job import UnitOrder
from prealloc.worker.limiter import no_turn
from prealloc.worker.messages import Ended
from prealloc.worker.units import UnitQueue

NAP_S = 0.1
"""A backoff is slept in pieces, so that Ctrl-C is heard."""

T = TypeVar("T")


class InlineEngine(Engine):
    """Runs shards in the calling thread. `jitter` is for tests."""

    name = "inline"
    facts = EngineFacts(
        can_kill=False,
        guards_library=False,
        worker_outlives_master=False,
        cannot_change=dict.fromkeys(("workers", "concurrency"), "the inline engine runs one task at a time"),
    )

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._queue: deque[ShardJob] = deque()
        self._function: WorkerFunction | None = None
        self._current: InlineShard | None = None
        self._incarnations: Counter[str] = Counter()
        """Jobs so far, by shard."""
        self._draining = False
        self._halted: set[str | None] = set()
        """Lanes, whose shards start nothing more; those that have not begun too."""
        self._held: set[int] = set()
        """Jobs that start nothing for now."""

    def check(self, wanted: WorkerCheck) -> Checked:
        self._function = load_function(wanted.worker, wanted.import_path)
        return Checked(unset=unset(wanted.variables))

    def open(self, setup: RunSetup) -> None:
        self._setup = setup

    def room(self) -> Room:
        return Room(1)

    def launch(self, job: ShardJob) -> None:
        self._queue.append(job)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        if self._current is None:
            if not self._queue:
                time.sleep(timeout_s)
                return []
            if self._function is None:
                raise EngineError("check() was not called before launch()")
            job = self._queue.popleft()
            self._incarnations[job.shard] += 1
            incarnation = self._incarnations[job.shard]
            self._current = InlineShard(job, self._setup, self._function, self._jitter, incarnation)
            if self._draining or self._current.lane in self._halted:
                self._current.stop()
            return [self._current.started, *self._current.clean_up_first()]
        if self._current.number in self._held and not self._draining:
            time.sleep(timeout_s)
            return []
        events = self._current.step()
        if events and isinstance(events[-1], JobEnded):
            self._current = None
        return events

    def halt(self, lane: str | None) -> None:
        if lane is None:
            self.drain()
            return
        self._halted.add(lane)
        if self._current is not None and self._current.lane == lane:
            self._current.stop()

    def allow(self, tasks: Mapping[int, int]) -> None:
        self._held = {*self._held, *tasks} - {job for job, most in tasks.items() if most}

    def drain(self) -> None:
        self._draining = True
        if self._current is not None:
            self._current.stop()

    def stop(self) -> None:
        self.drain()

    def memory(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        self._queue.clear()
        if self._current is not None:
            self._current.close()
            self._current = None


class InlineShard:
    """One job of a shard, a task at a time. It has a worker of its own, as it has in a process."""

    def __init__(
        self,
        job: ShardJob,
        setup: RunSetup,
        function: WorkerFunction,
        jitter: Callable[[], float],
        incarnation: int = 1,
    ) -> None:
        self.number = job.number
        self.shard = job.shard
        self.lane = job.lane
        self._job = job
        self._setup = setup
        self._function = function
        self._worker: Alone | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._stopped = False
        self._ended: list[Ended] = []
        self._most_bytes = job.policy.max_result_bytes
        self._log = setup.paths.log(job.shard)
        self._log_file: TextIO | None = None
        self._most_log_bytes = job.policy.max_log_bytes
        journal = setup.paths.worker_journal(job.shard, setup.session, incarnation)
        worker_job = job.for_worker(setup, job.units.orders, slots=1, journal=journal)
        self._journal = JournalWriter(journal, fsync=job.policy.fsync)
        table = InFlightTable(NOBODY_ELSE, job.policy.concurrency)
        limiter = _InlineLimiter(setup.limiter, job.lane) if job.lane is not None else None
        self._units = UnitQueue(worker_job, self._journal, table, self._ended.append, limiter, jitter=jitter)
        self.started = ShardStarted(
            shard=job.shard, incarnation=incarnation, pid=os.getpid(), units=len(job.units.orders), lane=job.lane
        )
        self._orders = {order.key: order for order in job.units.orders}
        self._left: list[UnitOrder] = []
        """Units that are for another lane."""

    def stop(self) -> None:
        """Starts nothing more; what has not begun is left."""
        self._stopped = True
        self._left += self._units.stop()

    def close(self) -> list[Event]:
        """Lets go of the worker and the journal."""
        worker, self._worker = self._worker, None
        problem = self._here(worker.close) if worker is not None else None
        if self._thread is not None:
            self._thread.shutdown()
        self._journal.close()
        if self._log_file is not None:
            self._log_file.close()
        return [] if problem is None else [Note(text=not_closed(self._job.shard, problem, self._log))]

    def clean_up_first(self) -> list[Event]:
        """Cleans up, in this very thread, what a session that was killed has left."""
        events: list[Event] = []
        cleanup = self._setup.cleanup
        if cleanup is None:
            return events
        for due in self._job.units.due:
            try:
                self._here(functools.partial(call_cleanup, cleanup, self._setup.import_path, str(due.unit), due.notes))
                self._setup.journal.append(CleanedUp(**due.unit._asdict(), attempt=due.attempt))
            except BaseException as error:  # sys.exit in it ends nothing but itself
                tried = f"the cleanup after {due.unit} (attempt {due.attempt}) failed: {brief_error(error)}"
                events.append(Note(text=f"{tried}; resume tries again"))
        return events

    def step(self) -> list[Event]:
        """Runs the next unit to its end."""
        if self._worker is None and not self._stopped:
            self._worker = self._here(self._make)
        taken = self._units.next()
        if taken is None or self._worker is None:
            left = units_of(self._left, self._job.units.deaths)
            return [*self.close(), JobEnded(job=self.number, shard=self.shard, left=left)]
        if not isinstance(taken, Running):
            time.sleep(min(taken, NAP_S))
            return []
        perform = functools.partial(self._worker.perform, taken, self._most_bytes)
        clean = self._here(lambda: perform(lambda ending: self._finish(taken, ending)))
        self._units.left(taken, clean=clean)
        message = self._ended.pop()
        _, type = self._job.ids[message.position]
        return [self._judged(event, message) for event in events_of(message, type)]

    def _judged(self, event: Event, message: Ended) -> Event:
        """The event; another one if the attempt has ended for its lane's sake. Its unit is left for another lane."""
        key = message.position, message.line.repeat
        if message.again is not None:
            self._orders[key] = message.again
        if not isinstance(event, AttemptEnded) or not is_turned_away(message.line, self._setup):
            return event
        line = message.line
        self._left.append(self._orders[key]._replace(attempt=line.attempt + 1, waited_s=line.waiting_s))
        return TurnedAway(job=self._job.number, ended=event)

    def _finish(self, running: Running, ending: Ending) -> None:
        self._units.finish(running, ending)

    def _make(self) -> Alone:
        try:
            return Alone(self._function)
        except WorkerFunctionError as error:  # too late to refuse it: the run has begun
            raise EngineError(error.problem, where=f"shard {self._job.shard}", hint=error.hint) from None

    def _here(self, call: Callable[[], T]) -> T:
        """Calls it in this thread; where that runs an event loop, in one thread that all calls of the shard have."""
        with self._output():
            if self._thread is None and not _in_event_loop():
                return call()
            self._thread = self._thread or ThreadPoolExecutor(1)
            return self._thread.submit(call).result()

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        """Where what the task prints goes."""
        if all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
            yield
            return
        if self._log_file is None or self._log_file.closed:  # by a task
            self._log_file = self._log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        with contextlib.redirect_stdout(self._log_file), contextlib.redirect_stderr(self._log_file):
            yield
        if not self._log_file.closed:
            self._log_file.flush()  # half a line too
        cut_back(self._log, self._most_log_bytes)


def _in_event_loop() -> bool:
    """Whether this thread runs an event loop (a notebook's, say): then it can run no other, nor can a task in it."""
    asyncio = sys.modules.get("asyncio")  # a loop that runs has imported it
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _InlineLimiter:
    """Turns straight from the limiter, which has no other holder meanwhile."""

    def __init__(self, limiter: Turns[str], lane: str) -> None:
        self._limiter = limiter
        self._lane = lane
        self._turn = 0

    def wait(self, tokens: int) -> int:
        self._turn += 1
        self._limiter.ask(self._lane, self._lane, self._turn, tokens)
        while not (granted := self._limiter.grants()):
            if (why := self._limiter.halted(self._lane)) is not None:
                raise no_turn(why)
            time.sleep(AHEAD_S / 2)
        time.sleep(max(0.0, granted[0].at - time.monotonic()))
        return self._turn

    async def wait_async(self, tokens: int) -> int:
        return self.wait(tokens)

    def done(self, turn: int, tokens: int, answer: Answer) -> None:
        self._limiter.done(self._lane, self._lane, turn, tokens, answer)
