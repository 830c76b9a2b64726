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
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from prealloc.engines import forkserver
from prealloc.engines.base import UNHURRIED, Checked, Patience
from prealloc.engines.log import last_lines
from prealloc.errors import EngineError, WorkerFunctionError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.forks import forks
from prealloc.model.document import Unreadable, heard
from prealloc.model.policy import KILL_STEP_S
from prealloc.processes.tree import Process, descendants, identify, kill_group, send_signal, started_below
from prealloc.worker.process import MARK
from prealloc.worker.signals import ENDING

_SERVER = "the process that starts workers"
_DYING_S = 2.0
"""Who has hung up is dying, and is reaped within this time."""


class Born(NamedTuple):
    """The worker that was asked for with this tag has this pid."""

    tag: int
    pid: int


class Refused(NamedTuple):
    """The system lets no further process start now, for this reason. What was asked for with this tag is dropped."""

    tag: int
    reason: str


class Died(NamedTuple):
    """A worker is gone and reaped. `status` as os.waitpid gives it."""

    pid: int
    status: int


class Launcher(Protocol):
    """What the local engine needs of a way to start processes."""

    def check(
        self,
        worker: str,
        import_path: tuple[str, ...],
        library: frozenset[tuple[int, int]],
        variables: Sequence[str] = (),
        patience: Patience = UNHURRIED,
    ) -> Checked:
        """As of Engine: it looks where workers are started."""
        ...

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        """Starts a worker; its pid comes as Born. The descriptors stay the caller's."""
        ...

    def happened(self) -> Sequence[Born | Refused | Died]:
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
        self._decoder: msgspec.json.Decoder[forkserver.FromServer] = msgspec.json.Decoder(forkserver.FromServer)
        self._living: set[int] = set()
        """What the server has started and has not told the end of."""
        with must_write(_SERVER, EngineError):
            self._output = tempfile.TemporaryFile()  # noqa: SIM115  # what the user's module prints at its import
            self._start_server()

    def check(
        self,
        worker: str,
        import_path: tuple[str, ...],
        library: frozenset[tuple[int, int]],
        variables: Sequence[str] = (),
        patience: Patience = UNHURRIED,
    ) -> Checked:
        request = forkserver.Preload(worker, import_path, tuple(sorted(library)), tuple(variables))
        try:
            self._send(request)
            if not patience.wait(self.wait):
                self._server.kill()
                raise patience.over(worker, self.output())
            reply = self._receive()
        except EngineError:
            if (code := self._server.poll()) is None:
                raise
            raise _ended_at_import(worker, code, self.output()) from None
        if not isinstance(reply, forkserver.Preloaded):
            raise EngineError(f"the fork server answered {type(reply).__name__} to a preload")
        if reply.opened_library is not None:
            raise WorkerFunctionError(
                "its module opens the task library when it is imported",
                where=repr(worker),
                hint="use what the tasks carry; further fields travel with `prealloc plan --keep FIELD`",
            )
        if reply.problem is not None:
            raise WorkerFunctionError(reply.problem, where=reply.where, hint=reply.hint)
        if reply.left is None:
            return Checked(unset=reply.unset)
        # Whatever it is, workers that are forked from this server would share it, though they never use it.
        self._stop_server()
        with must_write(_SERVER, EngineError):
            self._start_server()
        module = worker.partition(":")[0]
        note = (
            f"importing {module} leaves behind: {reply.left}; so that workers do not share it, each of them imports it"
        )
        return Checked([f"{note} by itself (slower, larger)"], reply.unset)

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        memory = _shipment(payload)
        try:
            fault_point(Point.SHIP_SEND)
            self._send(forkserver.Fork(tag), [channel.fileno(), memory, log, table])
            fault_point(Point.SHIP_SENT)
        finally:
            os.close(memory)

    def execute(self, tag: int, command: Sequence[str], environment: Mapping[str, str], folder: str, log: int) -> None:
        """Starts a program in a folder, with its output in the log; its pid comes as Born.

        The descriptor stays the caller's.
        """
        self._send(forkserver.Execute(tag, tuple(command), dict(environment), folder), [log])

    def wait(self, timeout_s: float) -> bool:
        """Returns as soon as something happened (True), or after so many seconds."""
        poll = select.poll()  # not select(): there may be more than 1,024 descriptors
        poll.register(self._control, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def happened(self) -> Sequence[Born | Refused | Died]:
        found: list[Born | Refused | Died] = []
        while True:
            self._control.setblocking(False)
            try:
                message = self._receive()
            except BlockingIOError:
                return found
            finally:
                self._control.setblocking(True)
            if isinstance(message, forkserver.Forked):
                self._living.add(message.pid)
                found.append(Born(message.tag, message.pid))
            elif isinstance(message, forkserver.Refused):
                found.append(Refused(message.tag, message.reason))
            elif isinstance(message, forkserver.Exited):
                self._living.discard(message.pid)
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
        forks.forget(self._control.fileno())
        self._control.close()  # the server sees the end of the socket, kills what is below it, and exits
        try:
            self._server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        if self._server.returncode:
            self._end_what_is_left()

    def _end_what_is_left(self) -> None:
        """The server was killed: its workers end with it, but what they had started is nobody's child any more."""
        for pid in self._living:
            kill_group(pid)
        marks = {str(pid) for pid in self._living}
        until = time.monotonic() + _DYING_S
        while (left := started_below(MARK, marks)) and time.monotonic() < until:
            send_signal(left, signal.SIGKILL)
            time.sleep(0.002)

    def _start_server(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, _blocked_signals():
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
        forks.keep_from(ours.fileno())

    def _send(self, message: forkserver.ServerMessage, descriptors: Sequence[int] = ()) -> None:
        packet = msgspec.json.encode(message)
        try:
            socket.send_fds(self._control, [packet], list(descriptors))
        except OSError as error:
            raise self._gone(error) from error

    def _receive(self) -> forkserver.FromServer:
        try:
            packet = self._control.recv(forkserver.PACKET)
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._gone(error) from error
        if not packet:
            raise self._gone()
        try:
            return heard(self._decoder, packet)
        except Unreadable as error:  # the worker's module has laid hands on it
            raise EngineError(f"the process that starts workers said what cannot be read: {error}") from None

    def _gone(self, error: OSError | None = None) -> EngineError:
        try:
            code = self._server.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:
            how = f"it cannot be reached: {error.strerror if error else 'it has hung up'}"
            hint = "see the system's log, then `prealloc resume`"
        else:
            how, hint = _how_it_ended(code), f"{_what_to_look_at(code)}, then `prealloc resume`"
        return EngineError(
            f"{_SERVER} is gone, and its workers with it: {how}{last_lines(self.output())}",
            hint=hint,
        )


class _Loaded(msgspec.Struct, frozen=True):
    """What a fresh interpreter tells of the worker function."""

    problem: str | None = None
    where: str | None = None
    hint: str | None = None
    unset: tuple[str, ...] = ()


_loaded = msgspec.json.Decoder(_Loaded)


class SpawnLauncher:
    """Starts each worker as a fresh interpreter: slower and larger, but needs nothing but POSIX."""

    def __init__(self) -> None:
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._born: list[Born | Refused] = []
        self._ladders: dict[float, list[Process]] = {}

    def check(
        self,
        worker: str,
        import_path: tuple[str, ...],
        library: frozenset[tuple[int, int]],
        variables: Sequence[str] = (),
        patience: Patience = UNHURRIED,
    ) -> Checked:
        return check_elsewhere(worker, import_path, variables=variables, patience=patience)

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        memory = _shipment(payload)
        try:
            numbers = (channel.fileno(), memory, log, table)
            code = (
                "import os; from prealloc.worker.process import main, text_streams; text_streams()\n"
                f"os._exit(main(*{numbers}, {os.getpid()}))"
            )
            with _blocked_signals():
                process = subprocess.Popen(fresh_interpreter(code), stdin=subprocess.DEVNULL, pass_fds=numbers)
        except OSError as error:
            self._born.append(Refused(tag, error.strerror or str(error)))
            return
        finally:
            os.close(memory)
        self._workers[process.pid] = process
        self._born.append(Born(tag, process.pid))

    def happened(self) -> Sequence[Born | Refused | Died]:
        now = time.monotonic()
        for moment in [moment for moment in self._ladders if moment <= now]:
            send_signal(self._ladders.pop(moment), signal.SIGKILL)
        found: list[Born | Refused | Died] = [*self._born]
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
            self._workers[pid].kill()  # it is deaf to SIGTERM, and has nothing to put away
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


def check_elsewhere(
    name: str,
    import_path: tuple[str, ...],
    parameters: str = "(task, ctx)",
    variables: Sequence[str] = (),
    patience: Patience = UNHURRIED,
) -> Checked:
    """Imports a function in a process that ends then. Raises WorkerFunctionError if it cannot be called."""
    reader, writer = os.pipe()  # not stdout: the module may print
    code = (
        "import json, os; from prealloc.errors import PreallocError\n"
        "from prealloc.worker.function import load_function, unset\n"
        "told = {}\n"
        f"try: load_function({name!r}, {tuple(import_path)!r}, {parameters!r})\n"
        "except PreallocError as error:\n"
        "    told = {'problem': error.problem, 'where': error.where, 'hint': error.hint}\n"
        f"told['unset'] = unset({tuple(variables)!r})\n"
        f"os.write({writer}, json.dumps(told).encode() + b'\\n')\n"
        "os._exit(0)"
    )
    with tempfile.TemporaryFile() as printed, open(reader, "rb") as answer:
        process = subprocess.Popen(
            fresh_interpreter(code), stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, pass_fds=[writer]
        )
        os.close(writer)
        try:
            in_time = patience.wait(lambda pause_s: _ends(process, pause_s))
        finally:
            process.kill()
            process.wait()
        printed.seek(0)
        if not in_time:
            raise patience.over(name, printed.read())
        os.set_blocking(reader, False)  # what the module has started may hold the other end
        told = answer.read() or b""
        if not told:
            raise _ended_at_import(name, process.returncode, printed.read())
    found = heard(_loaded, told)
    if found.problem is not None:
        raise WorkerFunctionError(found.problem, where=found.where, hint=found.hint)
    return Checked(unset=found.unset)


def make_launcher(method: str | None = None) -> Launcher:
    """Forking where a fork server can watch over it (Linux), else spawning. `method`: fork, spawn or None."""
    if os.name != "posix":
        raise EngineError(
            "the local engine needs a POSIX system",
            hint="use ‹engine› inline here, or run under Linux (WSL on Windows)",
        )
    if method == "spawn" or (method is None and sys.platform != "linux"):
        return SpawnLauncher()
    return ForkServerLauncher()


def fresh_interpreter(code: str) -> list[str]:
    """The command of an interpreter that finds what this one finds, and nothing of the folder it stands in."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """What is started in the block begins with ENDING blocked, so that it lives until it can say that it is deaf."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ends(process: subprocess.Popen[bytes], within_s: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    return process.returncode is not None


def _ended_at_import(worker: str, code: int, printed: bytes) -> WorkerFunctionError:
    return WorkerFunctionError(
        f"importing its module ends the process: {_how_it_ended(code)}{last_lines(printed)}",
        where=repr(worker),
        hint=f"{_what_to_look_at(code)}, and see that python -c 'import {worker.partition(':')[0]}' ends well",
    )


def _how_it_ended(code: int) -> str:
    """A return code of subprocess's, in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"killed by signal {-code}"


def _what_to_look_at(code: int) -> str:
    if code == -signal.SIGKILL:
        return "see the system's log for who has killed it (was the memory used up?)"
    return "see what it has printed"


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
