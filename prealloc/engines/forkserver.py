"""The fork server: a small process that starts workers by forking, reaps them, and never outlives the master.

It is single-threaded, so that forking is safe; a child subreaper, so that whatever a worker leaves behind
comes to it; and it holds one end of a socket whose other end only the master has. When the master dies,
however it dies, the socket closes (and the kernel reports the death, should a child of the master's hold it open),
and the fork server kills everything below it. When the fork server dies, the kernel kills the workers
(PR_SET_PDEATHSIG). The standard library's fork server gives neither: there the workers themselves hold its pipe open.

    master ── control socket ── fork server ── worker ── what its tasks start
       └──────── channel socket, one per worker ──┘
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from prealloc.engines import fork_messages, leftovers
from prealloc.errors import PreallocError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.processes.parent import MARK, adopt_orphans, die_with, outlive_parent
from prealloc.processes.signals import leave_to_master
from prealloc.processes.tree import (
    KillLadder,
    descendants,
    end_all_below,
    kill_group,
    kill_tree,
    send_signal,
    started_with,
)
from prealloc.worker import process as worker_process
from prealloc.worker.function import WorkerFunction, load_function, unset
from prealloc.worker.guard import guard

_libc = ctypes.CDLL(None)
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
LOOK_S = 1.0
"""How often it looks for workers that are gone though no signal has come: what runs after an import may eat SIGCHLD."""

_encoder = msgspec.json.Encoder()


def main(control: int, master: int) -> NoReturn:
    """Serves until the master is gone. `control` is the descriptor of our end of the control socket.

    The master says who it is: asked for later, our parent could be another already.
    """
    os.setsid()  # the terminal's signals are for the master
    adopt_orphans()
    if sys.platform == "linux":
        _libc.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)  # large buffers go back to the system when freed
        _libc.mallopt(_M_ARENA_MAX, 1)  # no heap per thread: workers wait, they do not compete for malloc
    worker_process.text_streams()
    gc.disable()  # a collection here would only make pages private that workers could share
    server = _ForkServer(socket.socket(fileno=control), master)
    code = 1
    try:
        server.serve()
        code = 0
    except BaseException:
        traceback.print_exc()  # a bug of ours: the master reports it
    finally:
        server.kill_all()
        os._exit(code)


class _ForkServer:
    def __init__(self, control: socket.socket, master: int) -> None:
        self._control = control
        self._master = master
        self._decoder = msgspec.json.Decoder(fork_messages.ToServer)
        self._workers: dict[int, signal.Signals] = {}
        """By process id: the signal that its end begins with."""
        self._ladder = KillLadder()
        self._function: WorkerFunction | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._heed_signals()
        self._death = _watch(master)

    def _heed_signals(self) -> None:
        """Wakes up when a worker dies, and at nothing else. Said again after an import, which may have undone it."""
        leave_to_master()
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> None:
        while True:
            pause_s = min(LOOK_S, max(0.0, self._ladder.due_at - time.monotonic()))
            ears = [self._control.fileno(), self._wake_read, *self._death]
            readable, _, _ = select.select(ears, [], [], pause_s)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            if any(death in readable for death in self._death):
                return
            self._reap()
            self._ladder.climb(self._workers)
            if self._control.fileno() in readable and not self._obey():
                return

    def kill_all(self) -> None:
        """Ends everything below this process, and waits for it: nothing may be left."""
        end_all_below(self._workers)

    def _obey(self) -> bool:
        """Takes one packet. False: the master is gone."""
        room = array.array("i", [0] * fork_messages.DESCRIPTORS)
        packet, ancillary, _, _ = self._control.recvmsg(
            fork_messages.PACKET, socket.CMSG_SPACE(len(room) * room.itemsize)
        )
        if not packet:
            return False
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        message = self._decoder.decode(packet)
        if isinstance(message, fork_messages.Fork):
            self._fork(message.tag, *descriptors)
        elif isinstance(message, fork_messages.Execute):
            self._execute(message, *descriptors)
        elif isinstance(message, fork_messages.Kill):
            self._kill(message.pid, now=message.now, step_s=message.step_s)
        else:
            self._preload(message)
        return True

    def _fork(self, tag: int, channel: int, payload: int, log: int, table: int) -> None:
        parent = os.getpid()
        self._start(
            tag,
            lambda: worker_process.main(channel, payload, log, table, parent, self._function),
            (channel, payload, log, table),
            signal.SIGKILL,  # it is deaf to SIGTERM, and has nothing to put away
        )

    def _execute(self, message: fork_messages.Execute, log: int) -> None:
        parent = os.getpid()
        self._start(
            message.tag,
            lambda: worker_process.become(message.command, message.environment, message.folder, log, parent),
            (log,),
            signal.SIGTERM,
        )

    def _start(self, tag: int, work: Callable[[], int], descriptors: Sequence[int], ends_with: signal.Signals) -> None:
        """Forks a process that does the work and exits with its code."""
        try:
            fault_point(Point.FORK_ASKED)
            pid = os.fork()
        except OSError as error:  # a limit on processes, or no memory: those that run may go on
            for descriptor in descriptors:
                os.close(descriptor)
            self._send(fork_messages.Refused(tag, error.strerror or str(error)))
            return
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                self._control.close()
                os.close(self._wake_read)
                os.close(self._wake_write)
                for death in self._death:
                    os.close(death)
                code = work()
            except BaseException:
                traceback.print_exc()  # a bug of ours: into the shard's log
            finally:
                os._exit(code)
        for descriptor in descriptors:
            os.close(descriptor)
        self._workers[pid] = ends_with
        fault_point(Point.FORK_FORKED)
        self._send(fork_messages.Born(tag, pid))

    def _kill(self, pid: int, *, now: bool, step_s: float) -> None:
        if pid not in self._workers:
            return  # it has been reaped: the number may be another's
        if now:
            kill_tree(pid)
        else:
            self._ladder.begin(pid, step_s, leader_gets=self._workers[pid])

    def _reap(self) -> None:
        ended: list[fork_messages.Died] = []
        with contextlib.suppress(ChildProcessError):  # there is none
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if reaped[0] in self._workers:  # else: an orphan of a worker's, which is ours to bury
                    ended.append(fork_messages.Died(*reaped))
        for worker in ended:
            del self._workers[worker.pid]
            kill_group(worker.pid)
        marks = {str(worker.pid) for worker in ended}
        below = descendants([os.getpid()]) if marks else ()
        send_signal([each for each in below if started_with(each.pid, MARK) in marks], signal.SIGKILL)
        for worker in ended:
            fault_point(Point.FORK_REAPED)
            self._send(worker)

    def _preload(self, request: fork_messages.Preload) -> None:
        worker_process.one_thread_each()
        before = leftovers.held()
        guard.protect(frozenset(request.library), lambda path: None)
        # The module may do anything at import, hang too; until we listen again, the kernel watches the master.
        die_with(self._master)
        self._function, loaded = load(request.worker, request.import_path, request.variables)
        if self._function is not None and self._function.is_async:
            import asyncio  # noqa: F401  # every worker will need it
        outlive_parent()
        gc.collect()  # unreachable objects do not count as left open
        left = leftovers.told(before, leftovers.held())
        self._heed_signals()
        gc.freeze()
        opened = guard.refused[0] if guard.refused else None
        self._send(msgspec.structs.replace(loaded, left=left, opened_library=opened))

    def _send(self, message: fork_messages.ServerMessage) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # the master's end is noticed in serve
            self._control.send(_encoder.encode(message))


def load(
    worker: str, import_path: Sequence[str], variables: Sequence[str], parameters: str = "(task, ctx)"
) -> tuple[WorkerFunction | None, fork_messages.Preloaded]:
    """Imports a worker function, if that can be, and says how it went. The module may set some of the variables."""
    function, problem, where, hint = None, None, None, None
    try:
        function = load_function(worker, import_path, parameters)
    except PreallocError as error:
        problem, where, hint = error.problem, error.where, error.hint
    return function, fork_messages.Preloaded(problem, where, hint, tuple(unset(variables)))


def look(answer: int, *wanted: Any) -> NoReturn:
    """In a process of its own: loads what is wanted, and writes how it went into the descriptor `answer`."""
    os.write(answer, _encoder.encode(load(*wanted)[1]))
    os._exit(0)


def _watch(master: int) -> list[int]:
    """A descriptor that is readable when the master is dead; none where the system has no such thing."""
    try:
        watched = [os.pidfd_open(master)]
    except (AttributeError, OSError):
        return []
    if os.getppid() != master:  # it is dead already, and the number may be another's
        os._exit(0)
    return watched
