"""Starts `prealloc` commands from a process that has imported it already: each command is a fork of this one.

A fresh interpreter spends more on imports than most commands spend on their work. A fork is as real a process: it
has a session, standard streams, environment and signals of its own, and ends as a fresh one does.

    python zygote.py CONTROL     CONTROL: descriptor of a socket, whose packets ask for commands
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import platform
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NoReturn

MARKER = "PREALLOC_FAULT_TEST"
_ROOM = "0" * 32
"""What the marker says in the zygote itself. /proc shows the environment of an exec: a fork writes its own over it."""
LOADED_LATE = (
    *("asyncio", "encodings.idna", "http.client", "psutil", "sqlite3", "urllib.request"),
    *("websockets.asyncio.client", "websockets.asyncio.server"),
)
PROGRAM = "-c"
"""In the place of a command: what follows is a Python program."""
_PACKET = 1 << 17
_CLONE_PARENT = 0x8000


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

    def load(self, *modules: str) -> None:
        """Has it import these, for commands that are started from now on: agents that would import them at each run."""
        self._control.send(json.dumps({"load": modules}).encode())

    def start_sibling(self, asked: Mapping[str, Any], descriptors: Sequence[int]) -> Forked:
        """A child of our own that is a fork server or a provider: see _fork_server and _provider."""
        asked = {**asked, "environment": {MARKER: _ROOM, **os.environ}, "folder": os.getcwd()}
        report, reports = os.pipe()
        with os.fdopen(report, "rb"):
            socket.send_fds(self._control, [json.dumps(asked).encode()], [*descriptors, reports])
            os.close(reports)
            return _child(_number(report))

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
            "environment": {MARKER: _ROOM, **environment},
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
        asked = {**_asked_of_server(command, more["pass_fds"]), "alone": more.get("start_new_session", False)}
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
        return _with_pipes(stderr, lambda *theirs: zygote().start_sibling(_asked_of_provider(command), theirs))


def _with_pipes(stderr: IO[bytes], start: Callable[[int, int, int], Forked]) -> Forked:
    """A process that is started with pipes for its input and output."""
    (read, to_it), (from_it, written) = os.pipe(), os.pipe()
    started = start(read, written, stderr.fileno())
    os.close(read)
    os.close(written)
    started.stdin, started.stdout = os.fdopen(to_it, "wb", 0), os.fdopen(from_it, "rb", 0)
    return started


def _blocked() -> list[int]:
    return [*signal.pthread_sigmask(signal.SIG_BLOCK, [])]


def _child(pid: int) -> Forked:
    """A child of ours."""
    return Forked(pid, os.pidfd_open(pid), lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _asked_of_server(command: list[str], pass_fds: list[int]) -> dict[str, Any]:
    """What makes a process the fork server that this command would start."""
    (passed,) = pass_fds
    return {"code": command[-1], "environment": dict(os.environ), "blocked": _blocked(), "passed": passed}


def _asked_of_provider(command: list[str]) -> dict[str, Any]:
    """The same for the process of a provider."""
    return {"code": command[-1], "environment": dict(os.environ), "blocked": _blocked()}


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
            packet, (*descriptors,), _, _ = socket.recv_fds(control, _PACKET, 4)
            if not packet:
                return None
            asked = json.loads(packet)
            assert threading.active_count() == 1, "another thread's locks would be held for ever in a fork"
            if "load" in asked:
                for name in asked["load"]:
                    importlib.import_module(name)
                gc.collect()
                gc.freeze()
                continue
            if "blocked" in asked:
                *theirs, report = descriptors
                pid = _fork_sibling()
                if pid == 0:
                    control.detach()
                    _fork_server(asked, *theirs) if "passed" in asked else _provider(asked, *theirs)
                _say(report, pid)
                for each in descriptors:
                    os.close(each)
                continue
            pid = os.fork()
            if pid == 0:
                control.detach()
                return _become(**asked, stdout=descriptors[0], stderr=descriptors[1])
            os.close(descriptors[0])
            os.close(descriptors[1])
            _say(descriptors[2], pid)
            watch = os.pidfd_open(pid)
            reports[watch] = (pid, descriptors[2])
            poll.register(watch, select.POLLIN)


def of_prealloc(but: str) -> list[str]:
    """Its modules, but those of one room and what would run a command."""
    import prealloc

    found = pkgutil.walk_packages(prealloc.__path__, "prealloc.")
    return [each.name for each in found if not each.name.startswith(but) and not each.name.endswith("__main__")]


def _say(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(report, number.to_bytes(4, sys.byteorder, signed=True))


def _number(report: int) -> int:
    raw = os.read(report, 4)
    assert raw, "the zygote has ended"
    return int.from_bytes(raw, sys.byteorder, signed=True)


def _become(
    words: list[str], folder: str, environment: dict[str, str], torn_down: bool, *, stdout: int, stderr: int
) -> None:
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
    if words[0] in ("run", "resume", "host", PROGRAM):
        server_process.subprocess = client.subprocess = StandBy()  # type: ignore[assignment]
    _carry_marker()
    if words[0] == PROGRAM:
        for name in vars(prealloc).keys() - at_first:
            delattr(prealloc, name)  # a module is no attribute of the package before the program imports it
        _run(words[1])
    sys.argv[1:] = words
    try:
        runpy.run_module("prealloc", run_name="__main__", alter_sys=True)
    except SystemExit as done:
        if not torn_down and isinstance(done.code, int):
            _end(done.code)
        raise


def _end(code: int) -> NoReturn:
    """Ends as an interpreter does, but leaves its modules to the kernel: to take them apart takes as long as a run."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
    ctypes.memmove(room, os.environ.get(MARKER, _ROOM).encode(), len(_ROOM))


def _provider(asked: dict[str, Any], stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Is the process of a provider from here on, which forks its hosts."""
    outlive_parent()
    for number, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    _settle(asked)
    process_provider.subprocess = Hosts()  # type: ignore[assignment]
    _run(asked["code"])


class Hosts:
    """Forks hosts from the process of their provider; in the place of `subprocess` in the provider `process`."""

    PIPE = subprocess.PIPE
    TimeoutExpired = subprocess.TimeoutExpired

    def Popen(  # noqa: N802
        self, command: list[str], *, stdin: int, stderr: IO[bytes], start_new_session: bool
    ) -> Forked | subprocess.Popen[bytes]:
        """What the provider calls."""
        if command != [sys.executable, "-P", "-m", HOST]:
            return subprocess.Popen(command, stdin=stdin, stderr=stderr, start_new_session=start_new_session)
        read, to_it = os.pipe()
        pid = os.fork()
        if pid == 0:
            _host(read, stderr.fileno())
        os.close(read)
        started = _child(pid)
        started.stdin = os.fdopen(to_it, "wb")
        return started


HOST = "prealloc.engines.hosts.start"


def _host(stdin: int, stderr: int) -> NoReturn:
    """Is a host from here on, which has its first fork server at hand."""
    os.dup2(stdin, 0)
    os.dup2(stderr, 2)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server_process.subprocess = StandBy()  # type: ignore[assignment]
    _run(f"import runpy; runpy.run_module({HOST!r}, run_name='__main__', alter_sys=True)")


def _run(code: str) -> NoReturn:
    """Is `python -c CODE` from here on."""
    sys.argv = ["-c"]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(code, vars(main))
    except SystemExit as done:
        _end(done.code if isinstance(done.code, int) else int(done.code is not None))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    _end(0)


def _settle(asked: dict[str, Any]) -> None:
    os.chdir(asked.get("folder", "."))
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    _carry_marker()


class StandBy:
    """A child of the master's: its first fork server, or provider, once it starts one; in the place of `subprocess`.

    Forked before the master does anything, it is as a fresh interpreter with all modules loaded.
    """

    DEVNULL = subprocess.DEVNULL
    PIPE = subprocess.PIPE
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
        self, command: list[str], *, stdin: int, stdout: IO[bytes] | int, stderr: IO[bytes], **more: Any
    ) -> Forked | subprocess.Popen[bytes]:
        """What the launcher calls, and the client of providers."""
        if self._control is None:
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, **more)
        if isinstance(stdout, int):
            return _with_pipes(stderr, lambda *theirs: self._become(_asked_of_provider(command), theirs))
        asked = _asked_of_server(command, more["pass_fds"])
        return self._become(asked, [*more["pass_fds"], stdout.fileno(), stderr.fileno()])

    def _become(self, asked: dict[str, Any], descriptors: Sequence[int]) -> Forked:
        assert self._control is not None
        with self._control as control:
            socket.send_fds(control, [json.dumps(asked).encode()], descriptors)
        self._control = None
        return _child(self._pid)


def _stand_by(control: socket.socket) -> NoReturn:
    raw, (*descriptors,), _, _ = socket.recv_fds(control, _PACKET, 3)
    if not raw:
        os._exit(0)
    asked = json.loads(raw)
    _fork_server(asked, *descriptors) if "passed" in asked else _provider(asked, *descriptors)
    raise AssertionError("neither returns")


def _fork_sibling() -> int:
    """As os.fork, but the new process is a child of our parent: the test waits for it as for one of its own."""
    python = ctypes.PyDLL(None)  # keeps the GIL
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    python.PyOS_BeforeFork()
    pid: int = python.syscall(number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    python.PyOS_AfterFork_Parent() if pid else python.PyOS_AfterFork_Child()
    return pid


def _fork_server(asked: dict[str, Any], passed: int, stdout: int, stderr: int) -> NoReturn:
    """Is a fork server from here on, with no descriptor but its own."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    above = fcntl.fcntl(passed, fcntl.F_DUPFD, 1 + max(map(int, os.listdir("/proc/self/fd"))))
    os.closerange(3, above)
    os.dup2(above, asked["passed"])
    if above != asked["passed"]:
        os.close(above)
    outlive_parent()
    if asked.get("alone"):
        os.setsid()
    _settle(asked)
    _run(asked["code"])


if __name__ == "__main__":
    gc.disable()  # until all is loaded
    # Its first user may be about to start a fork server, which is done with these blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    import prealloc

    at_first = {*vars(prealloc)}

    import typer.main

    from prealloc.api.status import status
    from prealloc.cli.app import ALONE, app_of
    from prealloc.engines import server_process
    from prealloc.engines.hosts.providers import client
    from prealloc.engines.hosts.providers import process as process_provider
    from prealloc.engines.hosts.spec import new_identity, trusting
    from prealloc.files import faultpoint
    from prealloc.processes.parent import die_with, outlive_parent

    # What a command or an agent would load when it needs it. Not prealloc's own agents: they are a user's modules.
    for name in (*LOADED_LATE, *of_prealloc("prealloc.agents")):
        importlib.import_module(name)
    status(Path(__file__).parent / "golden" / "run_v1")  # its readers are made at their first use
    platform.platform()  # asks a program
    trusting(new_identity().certificate)  # loads as it goes
    tempfile.tempdir = None  # found at its first use, by the environment of then
    typer.main.get_command = functools.cache(typer.main.get_command)  # the tree of commands is built once
    for module in (None, *{*ALONE.values()}):
        tree: Any = typer.main.get_command(app_of(module))
        for command in getattr(tree, "commands", {"": tree}).values():
            for param in command.params:
                if hasattr(param, "get_runtime_param"):
                    param.get_runtime_param()  # made at its first use
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    room = libc.getenv(MARKER.encode())  # before os.environ changes
    gc.collect()
    gc.freeze()
    gc.enable()
    serve(socket.socket(fileno=int(sys.argv[1])))
