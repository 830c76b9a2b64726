"""Starts, reaps and kills worker processes: forked from the fork server on Linux, spawned elsewhere."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from prealloc.engines import forkserver
from prealloc.errors import EngineError, WorkerFunctionError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.policy import KILL_STEP_S
from prealloc.worker.tree import Process, descendants, identify, kill_group, send_signal


class Born(NamedTuple):
    """The worker that was asked for with this tag has this pid."""

    tag: int
    pid: int


class Died(NamedTuple):
    """A worker is gone and reaped. `status` as os.waitpid gives it."""

    pid: int
    status: int


class Launcher(Protocol):
    """What the local engine needs of a way to start processes."""

    def check(self, worker: str, import_path: tuple[str, ...], library: frozenset[tuple[int, int]]) -> list[str]:
        """Raises WorkerFunctionError if the function cannot be called; returns notes for the user."""
        ...

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, board: int) -> None:
        """Starts a worker; its pid comes as Born. The descriptors stay the caller's."""
        ...

    def happened(self) -> Sequence[Born | Died]:
        """What has happened since the last call. Never waits."""
        ...

    def kill(self, pid: int, *, now: bool = False) -> None:
        """Ends a worker and all that descends from it: SIGTERM, KILL_STEP_S later SIGKILL; or SIGKILL at once."""
        ...

    def fileno(self) -> int | None:
        """Readable when something happened; None if the launcher must be asked every now and then."""
        ...

    def helpers(self) -> Sequence[int]:
        """Process ids of the launcher's own processes."""
        ...

    def output(self) -> bytes:
        """What the launcher's own processes have printed (the user's module, at import)."""
        ...

    def close(self) -> None:
        """Leaves no process behind."""
        ...


class ForkServerLauncher:
    """Speaks to one fork server at a time. It starts at once, beside whatever the master does next."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(forkserver.FromServer)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # what the user's module prints while it is imported
        self._start_server()

    def check(self, worker: str, import_path: tuple[str, ...], library: frozenset[tuple[int, int]]) -> list[str]:
        request = forkserver.Preload(worker, import_path, tuple(sorted(library)))
        self._send(request)
        reply = self._receive()
        if not isinstance(reply, forkserver.Preloaded):
            raise EngineError(f"the fork server answered {type(reply).__name__} to a preload")
        if reply.opened_library is not None:
            raise WorkerFunctionError(
                "its module opens the task library when it is imported",
                where=repr(worker),
                mend="use what the tasks carry; further fields travel with `prealloc plan --keep FIELD`",
            )
        if reply.problem is not None:
            raise WorkerFunctionError(reply.problem, where=reply.where, mend=reply.mend)
        if reply.threads == 1:
            return []
        # A thread that holds a lock while we fork would leave it locked for ever in every worker.
        self._stop_server()
        self._start_server()
        return [
            f"importing {worker.partition(':')[0]} starts threads: each worker imports it by itself (slower, larger)"
        ]

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, board: int) -> None:
        memory = _shipment(payload)
        try:
            fault_point(Point.SHIP_SEND)
            self._send(forkserver.Fork(tag), [channel.fileno(), memory, log, board])
            fault_point(Point.SHIP_SENT)
        finally:
            os.close(memory)

    def execute(self, tag: int, command: Sequence[str], environment: Mapping[str, str], log: int) -> None:
        """Starts a program with its output in the log; its pid comes as Born. The descriptor stays the caller's."""
        self._send(forkserver.Execute(tag, tuple(command), dict(environment)), [log])

    def wait(self, timeout_s: float) -> None:
        """Returns as soon as something happened, or after so many seconds."""
        select.select([self._control.fileno()], [], [], timeout_s)

    def happened(self) -> Sequence[Born | Died]:
        found: list[Born | Died] = []
        while True:
            self._control.setblocking(False)
            try:
                message = self._receive()
            except BlockingIOError:
                return found
            finally:
                self._control.setblocking(True)
            if isinstance(message, forkserver.Forked):
                found.append(Born(message.tag, message.pid))
            elif isinstance(message, forkserver.Exited):
                found.append(Died(message.pid, message.status))

    def kill(self, pid: int, *, now: bool = False, step_s: float = KILL_STEP_S) -> None:
        """`step_s` is what a program gets between SIGTERM and SIGKILL."""
        self._send(forkserver.Kill(pid, now, step_s))

    def fileno(self) -> int | None:
        return self._control.fileno()

    def helpers(self) -> Sequence[int]:
        return [self._server.pid]

    def output(self) -> bytes:
        self._output.seek(0)
        return self._output.read()

    def close(self) -> None:
        self._stop_server()
        self._output.close()

    def _stop_server(self) -> None:
        self._control.close()  # the server sees the end of the socket, kills what is below it, and exits
        try:
            self._server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _start_server(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                fresh_interpreter(
                    f"from prealloc.engines.forkserver import main; main({theirs.fileno()}, {os.getpid()})"
                ),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours

    def _send(self, message: forkserver.ServerMessage, descriptors: Sequence[int] = ()) -> None:
        packet = msgspec.json.encode(message)
        try:
            socket.send_fds(self._control, [packet], list(descriptors))
        except OSError as error:
            raise self._gone() from error

    def _receive(self) -> forkserver.FromServer:
        try:
            packet = self._control.recv(forkserver.PACKET)
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._gone() from error
        if not packet:
            raise self._gone()
        message: forkserver.FromServer = self._decoder.decode(packet)
        return message

    def _gone(self) -> EngineError:
        return EngineError(
            "the process that starts workers is gone, and its workers with it",
            mend="see the system's log for what killed it (memory?), then `prealloc resume`",
        )


class SpawnLauncher:
    """Starts each worker as a fresh interpreter: slower and larger, but needs nothing but POSIX."""

    def __init__(self) -> None:
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._born: list[Born] = []
        self._ladders: dict[float, list[Process]] = {}

    def check(self, worker: str, import_path: tuple[str, ...], library: frozenset[tuple[int, int]]) -> list[str]:
        check_elsewhere(worker, import_path)
        return []

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, board: int) -> None:
        memory = _shipment(payload)
        try:
            numbers = (channel.fileno(), memory, log, board)
            code = (
                "import os; from prealloc.worker.process import main, text_streams; text_streams()\n"
                f"os._exit(main(*{numbers}, {os.getpid()}))"
            )
            process = subprocess.Popen(fresh_interpreter(code), stdin=subprocess.DEVNULL, pass_fds=numbers)
        finally:
            os.close(memory)
        self._workers[process.pid] = process
        self._born.append(Born(tag, process.pid))

    def happened(self) -> Sequence[Born | Died]:
        now = time.monotonic()
        for moment in [moment for moment in self._ladders if moment <= now]:
            send_signal(self._ladders.pop(moment), signal.SIGKILL)
        found: list[Born | Died] = [*self._born]
        self._born.clear()
        for pid, process in list(self._workers.items()):
            code = process.poll()
            if code is not None:
                del self._workers[pid]
                kill_group(pid)
                found.append(Died(pid, -code if code < 0 else code << 8))
        return found

    def kill(self, pid: int, *, now: bool = False) -> None:
        if pid not in self._workers:
            return
        worker = identify(pid)
        tree = [*([worker] if worker else []), *descendants([pid])]
        kill_group(pid, signal.SIGKILL if now else signal.SIGTERM)
        send_signal(tree, signal.SIGKILL if now else signal.SIGTERM)
        if not now:
            self._ladders[time.monotonic() + KILL_STEP_S] = tree

    def fileno(self) -> int | None:
        return None

    def helpers(self) -> Sequence[int]:
        return []

    def output(self) -> bytes:
        return b""

    def close(self) -> None:
        trees = descendants(list(self._workers))
        for pid in self._workers:
            kill_group(pid)
        send_signal(trees, signal.SIGKILL)
        for process in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self._workers.clear()


def check_elsewhere(name: str, import_path: tuple[str, ...], parameters: str = "(task, ctx)") -> None:
    """Imports a function in a process that ends then. Raises WorkerFunctionError if it cannot be called."""
    reader, writer = os.pipe()  # not stdout: the module may print
    code = (
        "import os; from prealloc.errors import PreallocError\n"
        "from prealloc.worker.function import load_function\n"
        f"try: load_function({name!r}, {import_path!r}, {parameters!r})\n"
        "except PreallocError as error:\n"
        "    told = '\\0'.join([error.problem, error.where or '', error.mend or ''])\n"
        f"    os.write({writer}, told.encode('utf-8', 'replace'))\n"
        "os._exit(0)"
    )
    nothing = subprocess.DEVNULL
    subprocess.run(
        fresh_interpreter(code), stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=[writer], check=False
    )
    os.close(writer)
    with open(reader, "rb") as file:
        told = file.read().decode()
    if told:
        problem, where, mend = told.split("\0")
        raise WorkerFunctionError(problem, where=where, mend=mend)


def make_launcher(method: str | None = None) -> Launcher:
    """Forking where a fork server can watch over it (Linux), else spawning. `method`: fork, spawn or None."""
    if os.name != "posix":
        raise EngineError(
            "the local engine needs a POSIX system",
            mend="use --engine inline here, or run under Linux (WSL on Windows)",
        )
    if method == "spawn" or (method is None and sys.platform != "linux"):
        return SpawnLauncher()
    return ForkServerLauncher()


def fresh_interpreter(code: str) -> list[str]:
    """The command of an interpreter that finds what this one finds, and nothing of the folder it stands in."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]


def _shipment(payload: bytes) -> int:
    """The payload in a file without a name: gone with the last process that has it open."""
    with must_write("a worker's job, in memory", EngineError):
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("prealloc-job")
        else:
            with tempfile.TemporaryFile() as unnamed:
                descriptor = os.dup(unnamed.fileno())
        try:
            fault_point(Point.SHIP_PAYLOAD)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(payload)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor
