"""Starts workers by a fork server, on Linux; programs too."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence

import msgspec

from prealloc.engines import fork_messages
from prealloc.engines.base import Checked, WorkerCheck
from prealloc.engines.launch import ended_at_import, shipment, what_to_look_at
from prealloc.engines.log import last_lines
from prealloc.engines.server_process import ServerProcess, start_server
from prealloc.errors import EngineError, InputError, WorkerFunctionError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.document import Unreadable, heard
from prealloc.model.policy import KILL_STEP_S
from prealloc.model.words import cut
from prealloc.processes.forks import forks
from prealloc.processes.parent import MARK
from prealloc.processes.signals import how_it_ended
from prealloc.processes.tree import end_marked, kill_group
from prealloc.processes.waiting import await_end, await_readable

_SERVER = "the process that starts workers"
_DYING_S = 2.0
"""A server that has hung up is dying, and is reaped within this time."""


class ForkServerLauncher:
    """Speaks to one fork server at a time. It starts at once, beside whatever the master does next.

    `server` is one that was started before.
    """

    def __init__(self, server: ServerProcess | None = None) -> None:
        self._decoder: msgspec.json.Decoder[fork_messages.FromServer] = msgspec.json.Decoder(fork_messages.FromServer)
        self._living: set[int] = set()
        """What the server has started and has not told the end of."""
        with must_write(_SERVER, EngineError):
            self._server, self._control, self._output = server or start_server()

    def check(self, wanted: WorkerCheck) -> Checked:
        worker = wanted.worker
        request = fork_messages.Preload(worker, wanted.import_path, tuple(sorted(wanted.library)), wanted.variables)
        try:
            self._send(request)
            if not wanted.patience.wait(self.wait):
                self._server.kill()
                raise wanted.patience.over(worker, self.output())
            reply = self._receive()
        except EngineError:
            if (code := self._server.poll()) is None:
                raise
            raise ended_at_import(worker, code, self.output()) from None
        if not isinstance(reply, fork_messages.Preloaded):
            raise EngineError(f"the fork server answered {type(reply).__name__} to a preload")
        if reply.opened_library is not None:
            raise WorkerFunctionError(
                "its module opens the task library when it is imported",
                where=repr(worker),
                hint="use what the tasks carry; further fields travel with `prealloc plan --keep FIELD`",
            )
        reply.check()
        if reply.left is None:
            return Checked(unset=reply.unset)
        # Whatever it is, workers that are forked from this server would share it, though they never use it.
        self._stop_server()
        with must_write(_SERVER, EngineError):
            self._server, self._control, _ = start_server(self._output)
        module = worker.partition(":")[0]
        note = f"importing {module} leaves open: {reply.left}; workers must not share that, so each one imports it"
        return Checked([f"{note} (slower, more memory)"], reply.unset)

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        memory = shipment(payload)
        try:
            fault_point(Point.SHIP_SEND)
            self._send(fork_messages.Fork(tag), [channel.fileno(), memory, log, table])
            fault_point(Point.SHIP_SENT)
        finally:
            os.close(memory)

    def execute(self, tag: int, command: Sequence[str], environment: Mapping[str, str], folder: str, log: int) -> None:
        """Starts a program in a folder, with its output in the log; its pid comes as Born.

        The descriptor stays the caller's.
        """
        self._send(fork_messages.Execute(tag, tuple(command), dict(environment), folder), [log])

    def wait(self, timeout_s: float) -> bool:
        """Returns as soon as something happened (True), or after this many seconds."""
        return bool(await_readable([self._control.fileno()], timeout_s))

    def happened(self) -> Sequence[fork_messages.Happened]:
        found: list[fork_messages.Happened] = []
        while True:
            self._control.setblocking(False)
            try:
                message = self._receive()
            except BlockingIOError:
                return found
            finally:
                self._control.setblocking(True)
            if isinstance(message, fork_messages.Preloaded):
                continue  # of a check that nobody waits for any more
            if isinstance(message, fork_messages.Born):
                self._living.add(message.pid)
            elif isinstance(message, fork_messages.Died):
                self._living.discard(message.pid)
            found.append(message)

    def kill(self, pid: int, *, now: bool = False, step_s: float = KILL_STEP_S) -> None:
        """`step_s` is what a program gets between SIGTERM and SIGKILL."""
        self._send(fork_messages.Kill(pid, now, step_s))

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
        if self._control.fileno() < 0:
            return  # closed before
        with contextlib.suppress(OSError):  # it is gone already
            self._control.shutdown(socket.SHUT_RDWR)  # the server sees it, kills what is below it, and exits
        try:
            await_end(self._server, 10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        if self._server.returncode:
            self._end_what_is_left()
        forks.forget(self._control.fileno())
        self._control.close()

    def _end_what_is_left(self) -> None:
        """The server was killed: its workers end with it, but processes that they started are orphans now."""
        for _ in range(2):  # that it hung up on us is said once, before what it had told until then
            with contextlib.suppress(EngineError):
                self.happened()
        for pid in self._living:
            kill_group(pid)
        end_marked(MARK, {str(pid) for pid in self._living}, _DYING_S)

    def _send(self, message: fork_messages.ServerMessage, descriptors: Sequence[int] = ()) -> None:
        try:
            packet = msgspec.json.encode(message)
        except UnicodeEncodeError as error:
            problem = "workers cannot be given a path, argument or variable that is not UTF-8"
            hint = "run it in a folder, and with variables, that are UTF-8"
            raise InputError(problem, where=cut(ascii(error.object)), hint=hint) from None
        try:
            socket.send_fds(self._control, [packet], list(descriptors))
        except OSError as error:
            raise self._gone(error) from error

    def _receive(self) -> fork_messages.FromServer:
        try:
            packet = self._control.recv(fork_messages.PACKET)
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._gone(error) from error
        if not packet:
            raise self._gone()
        try:
            return heard(self._decoder, packet)
        except Unreadable as error:  # the worker's module has changed it
            raise EngineError(f"a message of the process that starts workers cannot be read: {error}") from None

    def _gone(self, error: OSError | None = None) -> EngineError:
        try:
            code = await_end(self._server, _DYING_S)
        except subprocess.TimeoutExpired:
            how = f"it cannot be reached: {error.strerror if error else 'it has hung up'}"
            hint = "see the system's log, then `prealloc resume`"
        else:
            how, hint = how_it_ended(code), f"{what_to_look_at(code)}, then `prealloc resume`"
        return EngineError(
            f"{_SERVER} is gone, and its workers with it: {how}{last_lines(self.output())}",
            hint=hint,
        )
