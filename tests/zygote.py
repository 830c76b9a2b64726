"""Starts `prealloc` commands from a process that has imported it already: each command is a fork of that one.

A fresh interpreter spends more on imports than most commands spend on their work. A fork is as real a process: it
has a session, standard streams, environment and signals of its own, and ends as a fresh one does. The process is
zygote_process.py; here is what asks it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

MARKER = "PREALLOC_FAULT_TEST"
ROOM = "0" * 32
"""What the marker says in the zygote itself. /proc shows the environment of an exec: a fork writes its own over it."""
PROGRAM = "-c"
"""In the place of a command: what follows is a Python program."""


class Forked:
    """What is needed of a subprocess.Popen."""

    stdin: IO[bytes] | None = None
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

    def terminate(self) -> None:
        """As of Popen."""
        self.send_signal(signal.SIGTERM)

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
                [sys.executable, str(Path(__file__).with_name("zygote_process.py")), str(theirs.fileno())],
                env={**environment, MARKER: ROOM},
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

    def load(self, *modules: str) -> None:
        """Has it import these, for commands that are started from now on: agents that would import them at each run."""
        self._control.send(json.dumps({"load": modules}).encode())

    def start_sibling(self, asked: Mapping[str, Any], descriptors: Sequence[int]) -> Forked:
        """A child of our own that is a fork server or a provider: see zygote_process.py."""
        asked = {**asked, "environment": {MARKER: ROOM, **os.environ}, "folder": os.getcwd()}
        report, reports = os.pipe()
        with os.fdopen(report, "rb"):
            socket.send_fds(self._control, [json.dumps(asked).encode()], [*descriptors, reports])
            os.close(reports)
            return child(_number(report))

    def start(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        errors: IO[bytes],
        *,
        torn_down: bool = False,
    ) -> Forked:
        """`python -m prealloc WORDS` in a folder, in a session of its own, with a pipe for its output.

        Or `python -c CODE`: see PROGRAM.

        `torn_down`: its interpreter is taken apart at the end, where errors of that matter.
        """
        stdout, theirs = os.pipe()
        report, reports = os.pipe()
        asked = {
            "words": words,
            "folder": str(folder),
            "environment": {MARKER: ROOM, **environment},
            "torn_down": torn_down,
        }
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
    words: Sequence[str],
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    timeout_s: float = 100.0,
    torn_down: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run for `prealloc WORDS`, with what it prints."""
    with tempfile.TemporaryFile() as errors:
        process = zygote().start(words, folder, command_environment(more), errors, torn_down=torn_down)
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        assert process.stdout is not None
        with process.stdout as stdout:
            printed = stdout.read().decode()
        code = process.wait()
        timer.cancel()
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, printed, errors.read().decode())


class ForkServers:
    """Starts the fork servers of engines in this process; in the place of `subprocess` where they are started.

    And the processes that look at a function for engines without one, and those that generate workflows.

    Each is a child of ours, as one of subprocess's is, but a fork of the zygote, which has its modules loaded.
    """

    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired

    def Popen(  # noqa: N802
        self,
        command: list[str],
        *,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
        **more: Any,
    ) -> Forked | subprocess.Popen[bytes]:
        """What the launcher calls, and who has a process look at a function. A worker has our output: it is spawned."""
        if stdout is None or stderr is None or not zygote().serves(command_environment({})):
            return subprocess.Popen(command, stdout=stdout, stderr=stderr, **more)
        asked = {**asked_of_server(command, more["pass_fds"]), "alone": more.get("start_new_session", False)}
        outputs = (each if isinstance(each, int) else each.fileno() for each in (stdout, stderr))
        return zygote().start_sibling(asked, [*more["pass_fds"], *outputs])


class Providers:
    """The same for the processes of providers that start hosts; in the place of `subprocess` in their client."""

    PIPE = subprocess.PIPE
    TimeoutExpired = subprocess.TimeoutExpired

    def Popen(  # noqa: N802
        self, command: list[str], *, stdin: int, stdout: int, stderr: IO[bytes], bufsize: int
    ) -> Forked | subprocess.Popen[bytes]:
        """What the client calls."""
        if not zygote().serves(command_environment({})):
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize)
        return with_pipes(stderr, lambda *theirs: zygote().start_sibling(asked_of_provider(command), theirs))


def with_pipes(stderr: IO[bytes], start: Callable[[int, int, int], Forked]) -> Forked:
    """A process that is started with pipes for its input and output."""
    (read, to_it), (from_it, written) = os.pipe(), os.pipe()
    started = start(read, written, stderr.fileno())
    os.close(read)
    os.close(written)
    started.stdin, started.stdout = os.fdopen(to_it, "wb", 0), os.fdopen(from_it, "rb", 0)
    return started


def _blocked() -> list[int]:
    return [*signal.pthread_sigmask(signal.SIG_BLOCK, [])]


def child(pid: int) -> Forked:
    """A child of ours."""
    return Forked(pid, os.pidfd_open(pid), lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def asked_of_server(command: list[str], pass_fds: list[int]) -> dict[str, Any]:
    """What makes a process the fork server that this command would start."""
    (passed,) = pass_fds
    return {"code": command[-1], "environment": dict(os.environ), "blocked": _blocked(), "passed": passed}


def asked_of_provider(command: list[str]) -> dict[str, Any]:
    """The same for the process of a provider."""
    return {"code": command[-1], "environment": dict(os.environ), "blocked": _blocked()}


def command_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours and more, for a command that finds prealloc behind what is to be found first."""
    path = (more.get("PYTHONPATH"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LC_", "LANG", "LD_"))}


def _number(report: int) -> int:
    raw = os.read(report, 4)
    assert raw, "the zygote has ended"
    return int.from_bytes(raw, sys.byteorder, signed=True)
