"""Starts each worker as a fresh interpreter, where there is no fork server; looks at functions in one of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence

import msgspec

from prealloc.engines.base import Checked, WorkerCheck
from prealloc.engines.fork_messages import Born, Died, Happened, Preloaded, Refused
from prealloc.engines.launch import ended_at_import, shipment
from prealloc.model.document import heard
from prealloc.model.policy import KILL_STEP_S
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.signals import born_blocked
from prealloc.processes.tree import KillLadder, descendants, kill_group, kill_tree, send_signal

_looked = msgspec.json.Decoder(Preloaded)


class SpawnLauncher:
    """Starts each worker as a fresh interpreter: slower and larger, but needs nothing but POSIX."""

    def __init__(self) -> None:
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._born: list[Born | Refused] = []
        self._ladder = KillLadder()

    def check(self, wanted: WorkerCheck) -> Checked:
        return check_elsewhere(wanted)

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        memory = shipment(payload)
        try:
            numbers = (channel.fileno(), memory, log, table)
            code = (
                "import os; from prealloc.worker.process import main, text_streams; text_streams()\n"
                f"os._exit(main(*{numbers}, {os.getpid()}))"
            )
            with born_blocked():
                process = subprocess.Popen(fresh_interpreter(code), stdin=subprocess.DEVNULL, pass_fds=numbers)
        except OSError as error:
            self._born.append(Refused(tag, error.strerror or str(error)))
            return
        finally:
            os.close(memory)
        self._workers[process.pid] = process
        self._born.append(Born(tag, process.pid))

    def happened(self) -> Sequence[Happened]:
        self._ladder.climb(self._workers)
        found: list[Happened] = [*self._born]
        self._born.clear()
        for pid, process in list(self._workers.items()):
            code = process.poll()
            if code is not None:
                del self._workers[pid]
                kill_group(pid)
                found.append(Died(pid, -code if code < 0 else code << 8))
        return found

    def kill(self, pid: int, *, now: bool = False) -> None:
        if pid in self._workers and now:
            kill_tree(pid)
        elif pid in self._workers:  # it is deaf to SIGTERM, and has nothing to put away
            self._ladder.begin(pid, KILL_STEP_S, leader_gets=signal.SIGKILL)

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


def check_elsewhere(wanted: WorkerCheck, parameters: str = "(task, ctx)") -> Checked:
    """Imports a function in a process that ends then. Raises WorkerFunctionError if it cannot be called."""
    reader, writer = os.pipe()  # not stdout: the module may print
    asked = (wanted.worker, wanted.import_path, wanted.variables, parameters)
    code = f"from prealloc.engines.forkserver import look; look({writer}, *{asked!r})"
    with tempfile.TemporaryFile() as printed, open(reader, "rb") as answer:
        process = subprocess.Popen(
            fresh_interpreter(code), stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, pass_fds=[writer]
        )
        os.close(writer)
        try:
            in_time = wanted.patience.wait(lambda pause_s: _ends(process, pause_s))
        finally:
            process.kill()
            process.wait()
        printed.seek(0)
        if not in_time:
            raise wanted.patience.over(wanted.worker, printed.read())
        os.set_blocking(reader, False)  # what the module has started may hold the other end
        told = answer.read() or b""
        if not told:
            raise ended_at_import(wanted.worker, process.returncode, printed.read())
    found = heard(_looked, told)
    found.check()
    return Checked(unset=found.unset)


def _ends(process: subprocess.Popen[bytes], within_s: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    return process.returncode is not None
