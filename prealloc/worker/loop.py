"""A worker process from its job to its end: the control thread beside the servers.

The control thread never runs user code. It beats, takes commands, and ends what is overdue. A call that does
not come back is written off: decided at once, its thread left behind. Then the worker retires: it hands its
waiting units back for a replacement and stays only until its other running units end.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
import traceback

from prealloc.errors import JournalError, PreallocError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.outcome import KEY_REFUSED, ErrorInfo, Status
from prealloc.model.policy import GRACE_S, HEARTBEAT_S
from prealloc.store.journal import JournalWriter
from prealloc.worker.attempt import Ending, Running, timed_out
from prealloc.worker.board import Board
from prealloc.worker.book import Book
from prealloc.worker.function import WorkerFunction, brief_error, load_function
from prealloc.worker.guard import guard
from prealloc.worker.job import WorkerJob
from prealloc.worker.messages import (
    NO_THREAD,
    Broken,
    Bye,
    Channel,
    Drain,
    Ended,
    Opened,
    Ready,
    Retiring,
    Slots,
    Struck,
)
from prealloc.worker.serve import Servers
from prealloc.worker.signals import leave_to_master
from prealloc.worker.turns import DeskTurns


def run_worker(job: WorkerJob, sock: socket.socket, board: Board, function: WorkerFunction | None = None) -> int:
    """Runs a job and reports over the socket; returns the exit code. `function` is given if it is loaded."""
    from pathlib import Path

    channel = Channel(sock)
    guard.protect(frozenset(job.library), lambda path: channel.send(Opened(path)))
    try:
        if function is None:
            function = load_function(job.worker, job.import_path)
            leave_to_master()  # the module may have put handlers of its own into place
        journal = JournalWriter(Path(job.journal), fsync=job.policy.fsync)
    except PreallocError as error:
        channel.send(_broken(error))
        return 1
    fault_point(Point.WORKER_READY)
    board.beat()  # before it counts as working: its start may have taken longer than a worker may be silent
    channel.send(Ready())
    return _Worker(job, channel, journal, board, function).control()


class _Worker:
    def __init__(
        self, job: WorkerJob, channel: Channel, journal: JournalWriter, board: Board, function: WorkerFunction
    ) -> None:
        self._job = job
        self._channel = channel
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._board = board
        self._turns = DeskTurns(channel.send) if job.lane is not None else None
        self._book = Book(job, journal, board, self._tell, self._turns)
        self._servers = Servers(
            function, self._book, job.policy.max_result_bytes, ended=self._wake, failed=self._broken
        )
        self._cancelled: dict[Running, float] = {}
        """Coroutines that were cancelled at their deadline, and when."""
        self._retiring = False

    def control(self) -> int:
        """The control thread: returns when nothing runs and nothing will."""
        if not self._servers.grow(min(self._job.slots, max(1, len(self._job.orders)))):
            return NO_THREAD
        while self._is_needed():
            self._board.beat()
            if not self._listen():
                return 1  # the supervisor is gone, and so must this process be
            try:
                self._look_after(self._book.running())
            except JournalError as error:  # what was written off could not be written down
                self._broken(error)
            self._channel.send(*self._book.announce())
        fault_point(Point.WORKER_BYE)
        self._channel.send(Bye())
        fault_point(Point.WORKER_BYE_SAID)
        return 0

    def _is_needed(self) -> bool:
        """A server that is not held may have or get a unit; and so may one that was only just cancelled."""
        return self._servers.count > self._book.held or (bool(self._cancelled) and not self._retiring)

    def _listen(self) -> bool:
        """Sleeps until a beat is due, a server ends or a command comes. False: the supervisor is gone."""
        readable, _, _ = select.select([self._channel.fileno(), self._wake_read], [], [], HEARTBEAT_S)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        if self._channel.fileno() in readable:
            commands = self._channel.commands()
            if commands is None:
                return False
            for command in commands:
                if isinstance(command, Drain):
                    self._book.stop(key_refused=command.key_refused)
                    if self._turns is not None and command.lane_halted is not None:
                        self._turns.close(command.lane_halted)
                elif isinstance(command, Slots):
                    self._book.allow(command.slots)
                    self._servers.grow(command.slots)
                elif self._turns is not None:
                    self._turns.granted(command.slots)
        return True

    def _look_after(self, running: list[Running]) -> None:
        """Shows on the board who waits, and ends what is overdue."""
        policy = self._job.policy
        self._servers.beat()
        blocker = self._servers.blocker()
        guilty = next((each for each in running if each.inner is blocker), None) if blocker else None
        for each in running:
            if each.clock.is_waiting or each.clock.waited_s > 0:
                self._board.wait(each.slot, each.clock.waited_s, each.clock.is_waiting)
            why = each.clock.overdue(policy.timeout_s, policy.max_wait_s)
            if why is not None and (guilty is None or each is guilty):
                self._end(each, why)
        if guilty is not None and guilty.closed:
            self._retire(give_back=True)  # the others stand still with it, and are not to blame
        elif self._cancelled:
            self._watch_cancelled()

    def _end(self, running: Running, why: str) -> None:
        self._book.write_off(running, _overdue_ending(self._job, why))
        if self._servers.cancel(running):
            self._cancelled[running] = time.monotonic()
        else:
            self._retire()

    def _watch_cancelled(self) -> None:
        """A coroutine that swallows its cancellation, or an event loop that is blocked, is a hung thread."""
        if self._book.held == 0:
            self._cancelled.clear()
        elif any(time.monotonic() - since > GRACE_S for since in self._cancelled.values()):
            self._retire()

    def _retire(self, *, give_back: bool = False) -> None:
        """Hands the waiting units to a replacement; with `give_back` also what runs, without blame."""
        if not self._retiring:
            self._retiring = True
            left = self._book.stop()
            if give_back:
                left = (*self._book.give_back(), *left)
            fault_point(Point.WORKER_RETIRING)
            self._channel.send(Retiring(left))
            fault_point(Point.WORKER_RETIRED)

    def _tell(self, ended: Ended) -> None:
        if ended.error is not None and ended.error.http_status in KEY_REFUSED:
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


def _overdue_ending(job: WorkerJob, why: str) -> Ending:
    if why == "timeout":
        return timed_out(job.policy.timeout_s)
    limit = f"waited longer than --max-wait {job.policy.max_wait_s:g} s"
    return Ending(Status.INFRA, error=ErrorInfo(type="MaxWait", message=limit))


def _broken(error: PreallocError) -> Broken:
    return Broken(ErrorInfo(type=type(error).__name__, message=error.problem), error.where, error.mend)
