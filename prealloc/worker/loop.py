"""A worker process from its job to its end: the control thread beside the servers.

The control thread never runs user code. It beats, takes commands, and ends what is overdue: that is decided at once,
and its function is interrupted and has the grace to clean up. A thread that was interrupted is not used again, and a
coroutine that does not come back soon is not waited for: the worker retires. It hands its waiting units back for a
replacement, and stays only until its other running units end and what was interrupted has cleaned up or had its grace.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import select
import socket
import sys
import threading
import time
import traceback

from prealloc.errors import JournalError, PreallocError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.outcome import KEY_REFUSED, STOPPED, ErrorInfo, Status
from prealloc.model.policy import HEARTBEAT_S, KILL_STEP_S
from prealloc.processes.signals import leave_to_master
from prealloc.store.journal_writer import JournalWriter
from prealloc.worker.attempt import Ending, Running, timed_out
from prealloc.worker.function import WorkerFunction, brief_error, load_function
from prealloc.worker.guard import guard
from prealloc.worker.in_flight import InFlightTable
from prealloc.worker.interrupt import shielded
from prealloc.worker.job import UnitOrder, WorkerJob
from prealloc.worker.limiter import RemoteLimiter
from prealloc.worker.messages import (
    NO_THREAD,
    Broken,
    Bye,
    Cancel,
    Channel,
    Drain,
    Ended,
    HandBack,
    NotClosed,
    Opened,
    Ready,
    Retiring,
    Returned,
    Slots,
    Struck,
)
from prealloc.worker.serve import Servers
from prealloc.worker.units import Lingering, UnitQueue

_MOST_OF = 0.8
"""Of --start-timeout."""


def run_worker(
    job: WorkerJob, sock: socket.socket, table: InFlightTable, function: WorkerFunction | None = None
) -> int:
    """Runs a job and reports over the socket; returns the exit code. `function` is given if it is loaded."""
    from pathlib import Path

    channel = Channel(sock)
    guard.protect(frozenset(job.library), shielded(lambda path: channel.send(Opened(path))))
    try:
        if function is None:
            function = load_function(job.worker, job.import_path)
            leave_to_master()  # the module may have put handlers of its own into place
        journal = JournalWriter(Path(job.journal), fsync=job.policy.fsync)
        worker = _Worker(job, channel, journal, table, function)
        if not worker.make():
            return NO_THREAD
    except PreallocError as error:
        channel.send(_broken(error))
        return 1
    fault_point(Point.WORKER_READY)
    table.beat()  # before it counts as working: its start may have taken longer than a worker may be silent
    channel.send(Ready())
    return worker.control()


class _Worker:
    def __init__(
        self, job: WorkerJob, channel: Channel, journal: JournalWriter, table: InFlightTable, function: WorkerFunction
    ) -> None:
        self._job = job
        self._channel = channel
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._table = table
        self._is_class, self._is_async = function.is_class, function.is_async
        self._limiter = RemoteLimiter(shielded(channel.send)) if job.lane is not None else None
        self._units = UnitQueue(job, journal, table, self._tell, self._limiter, spent=channel.send)
        self._servers = Servers(
            function, self._units, job.policy.max_result_bytes, ended=self._wake, failed=self._broken
        )
        self._retiring = False
        self._cancelling = False

    def make(self) -> bool:
        """Makes the object of a worker class. False: the system has no thread for it. Raises WorkerFunctionError."""
        if not self._is_class:
            return True
        # The supervisor kills what does not start in time. A little before, the log gets to know where it hangs.
        faulthandler.dump_traceback_later(_MOST_OF * self._job.policy.start_s)
        try:
            return self._servers.make()
        finally:
            faulthandler.cancel_dump_traceback_later()

    def control(self) -> int:
        """The control thread: returns when nothing runs and nothing will."""
        if not self._listen(wait=False):  # it may have other slots by now
            return 1
        if not self._servers.grow(min(self._job.slots, max(1, len(self._job.orders)))):
            return NO_THREAD
        while self._is_needed():
            self._table.beat()
            if not self._listen():
                return 1  # the supervisor is gone, and so must this process be
            try:
                self._look_after(self._units.running())
            except JournalError as error:  # what was written off could not be written down
                self._broken(error)
            self._channel.send(*self._units.announce())
        fault_point(Point.WORKER_BYE)
        self._channel.send(Bye())
        fault_point(Point.WORKER_BYE_SAID)
        # A supervisor waits for no more than the grace in all, and then kills what is left.
        grace_s = self._job.policy.grace_s
        ends_at = time.monotonic() + (min(grace_s, KILL_STEP_S) if self._units.lingering else grace_s)
        self._close(max(ends_at - KILL_STEP_S - time.monotonic(), KILL_STEP_S))
        _run_exit_handlers(ends_at - time.monotonic())
        return 0

    def _close(self, most_s: float) -> None:
        """Closes the object of a worker class, and says so if that goes wrong."""
        if (problem := self._servers.close(most_s)) is not None:
            self._channel.send(NotClosed(problem))

    def _is_needed(self) -> bool:
        """A server in which nothing lingers may have or get a unit; and what lingers may still clean up."""
        lingering = self._units.lingering
        return self._servers.count > len(lingering) or any(each.ends_at > time.monotonic() for each in lingering)

    def _listen(self, *, wait: bool = True) -> bool:
        """Sleeps until a beat is due, a server ends or a command comes. False: the supervisor is gone."""
        now = time.monotonic()
        pause_s = min([HEARTBEAT_S, *(each.ends_at - now for each in self._units.lingering if each.ends_at > now)])
        pause_s = pause_s if wait else 0.0
        readable, _, _ = select.select([self._channel.fileno(), self._wake_read], [], [], pause_s)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        if self._channel.fileno() in readable:
            commands = self._channel.commands()
            if commands is None:
                return False
            for command in commands:
                if isinstance(command, Drain):
                    left = self._units.stop(key_refused=command.key_refused)
                    if self._limiter is not None and command.lane_halted is not None:
                        self._hand_back(tuple(order for order in left if order.is_fresh))
                        self._limiter.close(command.lane_halted)
                elif isinstance(command, HandBack):
                    self._hand_back(self._units.hand_back(command.units))
                elif isinstance(command, Cancel):
                    self._cancelling = True
                elif isinstance(command, Slots):
                    self._units.allow(command.slots)
                    self._servers.grow(command.slots)
                elif self._limiter is not None:
                    self._limiter.granted(command.permits)
        return True

    def _look_after(self, running: list[Running]) -> None:
        """Shows on the table who waits, and ends what is overdue."""
        policy = self._job.policy
        if self._cancelling:
            for each in running:
                self._end(each, Ending(Status.CANCELLED, error=STOPPED))
            self._retire()
            return
        self._servers.beat()
        blocker = self._servers.blocker()
        guilty = next((each for each in running if each.inner is blocker), None) if blocker else None
        for each in running:
            if each.clock.is_waiting or each.clock.waited_s > 0:
                self._table.wait(each.slot, each.clock.waited_s, each.clock.is_waiting)
            why = each.clock.overdue(each.context.timeout_s, policy.max_wait_s)
            if why is not None and (guilty is None or each is guilty):
                self._end(each, _overdue_ending(each, why, policy.max_wait_s))
        if guilty is not None and guilty.closed:
            self._retire(give_back=True)  # the others stand still with it, and are not to blame
        elif any(each.retire_at <= time.monotonic() for each in self._units.lingering):
            self._retire()

    def _end(self, running: Running, ending: Ending) -> None:
        if not self._units.write_off(running, ending, self._patience()):
            return
        if self._is_async or self._job.policy.grace_s > 0:
            running.call.interrupt()
        if not self._is_async:
            self._retire()

    def _patience(self) -> Lingering:
        """A coroutine most often ends at once when it is cancelled: then its worker goes on."""
        now, grace_s = time.monotonic(), self._job.policy.grace_s
        if self._is_async:
            return Lingering(now + KILL_STEP_S, now + max(grace_s, KILL_STEP_S))
        return Lingering(now, now + grace_s)

    def _retire(self, *, give_back: bool = False) -> None:
        """Hands the waiting units to a replacement; with `give_back` also what runs, without blame."""
        if not self._retiring:
            self._retiring = True
            left = self._units.stop()
            if give_back:
                left = (*self._units.give_back(self._patience()), *left)
            fault_point(Point.WORKER_RETIRING)
            self._channel.send(Retiring(left))
            fault_point(Point.WORKER_RETIRED)

    def _hand_back(self, units: tuple[UnitOrder, ...]) -> None:
        fault_point(Point.WORKER_HANDING_BACK)
        self._channel.send(Returned(units))
        fault_point(Point.WORKER_HANDED_BACK)

    def _tell(self, ended: Ended) -> None:
        error = ended.line.error
        if error is not None and error.http_status in KEY_REFUSED:
            self._channel.send(ended)  # the whole lane may have to halt for it
        else:
            self._channel.tell(ended)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: then it is awake enough
            os.write(self._wake_write, b"x")

    def _broken(self, error: BaseException) -> None:
        """A server cannot go on. What is not in the journal must not be told, so the process ends here.

        A journal that cannot be written is the run's trouble. Anything else has come out of a task, by a thread or
        coroutine of its own (sys.exit), or thrown into ours from outside, a moment late: that costs this worker alone.
        """
        try:
            if isinstance(error, PreallocError):
                self._channel.send(_broken(error))
            else:
                traceback.print_exception(error)
                self._channel.send(Struck(brief_error(error)))
        finally:
            sys.stderr.flush()
            os._exit(1)


def _run_exit_handlers(most_s: float) -> None:
    """Has libraries flush what they hold (atexit). They may take this long: a server that they tell may be gone."""
    if most_s > 0 and atexit._ncallbacks():
        flushing = threading.Thread(target=atexit._run_exitfuncs, name="prealloc-exit", daemon=True)
        flushing.start()
        flushing.join(most_s)


def _overdue_ending(running: Running, why: str, max_wait_s: float) -> Ending:
    if why == "timeout":
        return timed_out(running.context.timeout_s)
    limit = f"waited longer than the max_wait of {max_wait_s:g} s"
    return Ending(Status.INFRA, error=ErrorInfo(type="MaxWait", message=limit))


def _broken(error: PreallocError) -> Broken:
    return Broken(ErrorInfo(type=type(error).__name__, message=error.problem), error.where, error.hint)
