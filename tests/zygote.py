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
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, NoReturn

MARKER = "PREALLOC_FAULT_TEST"
_ROOM = "0" * 32
"""What the marker says in the zygote itself. /proc shows the environment of an exec: a fork writes its own over it."""
_PACKET = 1 << 17


class Forked:
    """What is needed of a subprocess.Popen."""

    stdout: IO[bytes] | None = None
    returncode: int | None = None

    def __init__(self, pid: int, end: int, code: Callable[[], int]) -> None:
        self.pid = pid
        self._end = end
        """A descriptor that is readable when it has ended."""
        self._code = code

    def wait(self, timeout: float | None = None) -> int:
        """As of Popen."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("prealloc", timeout or 0.0)
            self.returncode = self._code()
            os.close(self._end)
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


class Zygote:
    """The process that commands are forked from, and how to ask it."""

    def __init__(self) -> None:
        environment = command_environment({})
        self._python = _read_at_start(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
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

    def start(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], errors: IO[bytes]) -> Forked:
        """`python -m prealloc WORDS` in a folder, in a session of its own, with a pipe for its output."""
        stdout, theirs = os.pipe()
        report, reports = os.pipe()
        asked = {"words": words, "folder": str(folder), "environment": {MARKER: _ROOM, **environment}}
        socket.send_fds(self._control, [json.dumps(asked).encode()], [theirs, errors.fileno(), reports])
        os.close(theirs)
        os.close(reports)
        started = Forked(_number(report), report, lambda: _number(report))
        started.stdout = os.fdopen(stdout, "rb")
        return started


@functools.cache
def zygote() -> Zygote:
    """That of this process. Ends with it."""
    made = Zygote()
    atexit.register(made.close)
    return made


def run_command(
    words: Sequence[str], folder: Path, more: Mapping[str, str] = MappingProxyType({}), *, timeout_s: float = 100.0
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run for `prealloc WORDS`, with what it prints."""
    with tempfile.TemporaryFile() as errors:
        process = zygote().start(words, folder, command_environment(more), errors)
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        assert process.stdout is not None
        with process.stdout as stdout:
            printed = stdout.read().decode()
        code = process.wait()
        timer.cancel()
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, printed, errors.read().decode())


def command_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours and more, for a command that finds prealloc behind what is to be found first."""
    path = (more.get("PYTHONPATH"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
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
                return None
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


def _number(report: int) -> int:
    raw = os.read(report, 4)
    assert raw, "the zygote has ended"
    return int.from_bytes(raw, sys.byteorder, signed=True)


def _become(words: list[str], folder: str, environment: dict[str, str], stdout: int, stderr: int) -> None:
    """Is the command from here on."""
    os.setsid()
    os.chdir(folder)
    sys.path[0] = folder
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.environ.clear()
    os.environ.update(environment)
    _arm()
    if words[0] in ("run", "resume", "host"):
        fork_launcher.subprocess = StandBy()  # type: ignore[assignment]
    _carry_marker()
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


def _carry_marker() -> None:
    """/proc shows the environment of the last exec: writes the marker there too."""
    ctypes.memmove(room, os.environ[MARKER].encode(), len(_ROOM))


class StandBy:
    """A child of the master's that is the first fork server as soon as one is started; in the place of `subprocess`.

    Forked before the master does anything, it is as a fresh interpreter with the fork server's modules loaded.
    """

    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self) -> None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        master = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            die_with(master)
            control.close()
            _stand_by(theirs)
        theirs.close()
        self._control: socket.socket | None = control

    def Popen(  # noqa: N802
        self, command: list[str], *, stdin: int, stdout: IO[bytes], stderr: IO[bytes], pass_fds: list[int]
    ) -> Forked | subprocess.Popen[bytes]:
        """What the launcher calls."""
        if self._control is None:
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds)
        (passed,) = pass_fds
        packet = {
            "code": command[-1],
            "environment": dict(os.environ),
            "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
            "passed": passed,
        }
        with self._control as control:
            socket.send_fds(control, [json.dumps(packet).encode()], [passed, stdout.fileno(), stderr.fileno()])
        self._control = None
        pid = self._pid
        return Forked(pid, os.pidfd_open(pid), lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _stand_by(control: socket.socket) -> NoReturn:
    raw, (*descriptors,), _, _ = socket.recv_fds(control, _PACKET, 3)
    if not raw:
        os._exit(0)
    packet = json.loads(raw)
    passed, stdout, stderr = (os.dup(each) for each in descriptors)  # above all that
    control.close()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.dup2(passed, packet["passed"])
    for each in {*descriptors, passed, stdout, stderr} - {packet["passed"]}:
        os.close(each)
    outlive_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, packet["blocked"])
    os.environ.clear()
    os.environ.update(packet["environment"])
    _carry_marker()
    sys.argv = ["-c"]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(packet["code"], vars(main))
    os._exit(1)


if __name__ == "__main__":
    import typer.main

    from prealloc.cli.app import ALONE, app_of
    from prealloc.engines import fork_launcher
    from prealloc.files import faultpoint
    from prealloc.processes.parent import die_with, outlive_parent

    typer.main.get_command = functools.cache(typer.main.get_command)  # the tree of commands is built once
    for module in (None, *{*ALONE.values()}):
        typer.main.get_command(app_of(module))
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    room = libc.getenv(MARKER.encode())  # before os.environ changes
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
