"""Starts `prealloc` commands from a process that has imported it already: each command is a fork of this one.

A fresh interpreter spends more on imports than most commands spend on their work. A fork is as real a process: it
has a session, standard streams, environment and signals of its own, and ends as a fresh one does.

    python zygote.py CONTROL     CONTROL: descriptor of a socket, whose packets ask for commands
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

MARKER = "PREALLOC_FAULT_TEST"
_ROOM = "0" * 32
"""What the marker says in the zygote itself. /proc shows the environment of an exec: a fork writes its own over it."""
_PACKET = 1 << 17


class Forked:
    """What the harness needs of a subprocess.Popen."""

    def __init__(self, report: int, stdout: IO[bytes]) -> None:
        self._report = report
        """Gives the process id, then the return code."""
        self.pid = self._number()
        self.stdout = stdout
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """As of Popen."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._report, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("prealloc", timeout or 0.0)
            self.returncode = self._number()
            os.close(self._report)
        return self.returncode

    def poll(self) -> int | None:
        """As of Popen."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As of Popen."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As of Popen."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        raw = os.read(self._report, 4)
        assert raw, "the zygote has ended"
        return int.from_bytes(raw, sys.byteorder, signed=True)


class Zygote:
    """The process that commands are forked from, and how to ask it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._python = _read_at_start(environment)
        self._folder = folder
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd=folder,
                env={**environment, MARKER: _ROOM},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """Ends it. Commands that still run go on."""
        self._control.close()
        self._process.wait()

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether a fresh interpreter would start with this environment as the zygote has."""
        return _read_at_start(environment) == self._python

    def start(self, words: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]) -> Forked:
        """`python -m prealloc WORDS`, in a session of its own, with a pipe for its output."""
        stdout, theirs = os.pipe()
        report, reports = os.pipe()
        packet = json.dumps({"words": words, "environment": dict(environment)}).encode()
        with self._lock:
            socket.send_fds(self._control, [packet], [theirs, errors.fileno(), reports])
        os.close(theirs)
        os.close(reports)
        return Forked(report, os.fdopen(stdout, "rb"))


@functools.cache
def zygote(folder: Path) -> Zygote:
    """That of this process. Ends with it."""
    made = Zygote(folder, command_environment({}))
    atexit.register(made.close)
    return made


def command_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours and more, for a command that finds prealloc behind what is to be found first."""
    path = (more.get("PYTHONPATH"), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LC_", "LANG", "LD_"))}


# -- in the zygote -------------------------------------------------------------------------------------------------


def serve(control: socket.socket) -> None:
    """Forks what is asked for, and reports how each ended. Returns when the tests have ended, or in a fork when it has.

    In a fork, nothing of this function's may be open: all descriptors but `control` are plain numbers.
    """
    poll = select.poll()
    poll.register(control, select.POLLIN)
    reports: dict[int, tuple[int, int]] = {}
    while True:
        for ready, _ in poll.poll():
            if ready in reports:
                pid, report = reports.pop(ready)
                poll.unregister(ready)
                _say(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(report)
                os.close(ready)
                continue
            packet, (*descriptors,), _, _ = socket.recv_fds(control, _PACKET, 3)
            if not packet:
                return
            pid = os.fork()
            if pid == 0:
                control.detach()
                return _become(**json.loads(packet), stdout=descriptors[0], stderr=descriptors[1])
            os.close(descriptors[0])
            os.close(descriptors[1])
            _say(descriptors[2], pid)
            watch = os.pidfd_open(pid)
            reports[watch] = (pid, descriptors[2])
            poll.register(watch, select.POLLIN)


def _say(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(report, number.to_bytes(4, sys.byteorder, signed=True))


def _become(words: list[str], environment: dict[str, str], stdout: int, stderr: int) -> None:
    """Is the command from here on."""
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    ctypes.memmove(libc.getenv(MARKER.encode()), environment[MARKER].encode(), len(_ROOM))
    os.environ.clear()
    os.environ.update(environment)
    _arm()
    sys.argv[1:] = words
    runpy.run_module("prealloc", run_name="__main__", alter_sys=True)


def _arm() -> None:
    """Decides once more what is decided when the module is imported: whether there are faults."""
    if not os.environ.get(faultpoint.VARIABLE):
        return
    armed = faultpoint._Armed()
    for module in [*sys.modules.values()]:
        if getattr(module, "fault_point", None) is faultpoint._nothing:
            module.fault_point = armed  # type: ignore[attr-defined]


if __name__ == "__main__":
    import prealloc.api.plans
    import prealloc.api.runs
    import prealloc.cli.app
    import prealloc.engines.command
    import prealloc.engines.local
    import prealloc.report.choose
    import prealloc.report.jsonlines
    from prealloc.files import faultpoint

    serve(socket.socket(fileno=int(sys.argv[1])))
