"""The process of a fork server, started before anybody speaks to it: it loads its modules beside whatever comes next.

Imports little: a host starts it before it loads modules of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from typing import IO, NamedTuple

from prealloc.processes.forks import forks
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.signals import born_blocked


class ServerProcess(NamedTuple):
    """It ends when `control` is closed, or this process ends."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    output: IO[bytes]
    """What it prints: the user's module, at import."""


def start_server(output: IO[bytes] | None = None) -> ServerProcess:
    """Starts one. Raises OSError."""
    if output is None:
        output = tempfile.TemporaryFile()  # noqa: SIM115  # it is closed by whoever speaks to the server
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, born_blocked():
        process = subprocess.Popen(
            fresh_interpreter(f"from prealloc.engines.forkserver import main; main({theirs.fileno()}, {os.getpid()})"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
        )
    forks.keep_from(ours.fileno())
    return ServerProcess(process, ours, output)
