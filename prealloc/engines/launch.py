"""How worker processes are started, reaped and killed: what engines need of a launcher, and what launchers share."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from typing import Protocol

from prealloc.engines.base import Checked, WorkerCheck
from prealloc.engines.fork_messages import Happened
from prealloc.engines.log import last_lines
from prealloc.errors import EngineError, WorkerFunctionError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.processes.memory import unnamed_memory
from prealloc.processes.signals import how_it_ended


class Launcher(Protocol):
    """What the local engine needs of a way to start processes."""

    def check(self, wanted: WorkerCheck) -> Checked:
        """As of Engine: it looks where workers are started."""
        ...

    def start(self, tag: int, channel: socket.socket, payload: bytes, log: int, table: int) -> None:
        """Starts a worker; its pid comes as Born. The descriptors stay the caller's."""
        ...

    def happened(self) -> Sequence[Happened]:
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


def ended_at_import(worker: str, code: int, printed: bytes) -> WorkerFunctionError:
    """The error for a module whose import has ended its process with this return code (of subprocess's)."""
    return WorkerFunctionError(
        f"importing its module ends the process: {how_it_ended(code)}{last_lines(printed)}",
        where=repr(worker),
        hint=f"{what_to_look_at(code)}, and see that python -c 'import {worker.partition(':')[0]}' ends well",
    )


def what_to_look_at(code: int) -> str:
    """The hint for a process that has ended so."""
    if code == -signal.SIGKILL:
        return "see the system's log for what killed it (out of memory?)"
    return "see its output"


def shipment(payload: bytes) -> int:
    """The payload in a file without a name: gone with the last process that has it open."""
    with must_write("a worker's job, in memory", EngineError):
        descriptor = unnamed_memory("prealloc-job")
        try:
            fault_point(Point.SHIP_PAYLOAD)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(payload)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor
