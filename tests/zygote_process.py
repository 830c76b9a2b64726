"""The process that has imported prealloc, and forks what zygote.py asks for.

python zygote_process.py CONTROL     CONTROL: descriptor of a socket, whose packets ask for commands
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
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from zygote import MARKER, PROGRAM, ROOM, Forked, asked_of_provider, asked_of_server, child, with_pipes

LOADED_LATE = (
    *("asyncio", "encodings.idna", "http.client", "psutil", "sqlite3", "urllib.request"),
    *("websockets.asyncio.client", "websockets.asyncio.server"),
)
_PACKET = 1 << 17
_CLONE_PARENT = 0x8000


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
    ctypes.memmove(room, os.environ.get(MARKER, ROOM).encode(), len(ROOM))


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
        started = child(pid)
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
            return with_pipes(stderr, lambda *theirs: self._become(asked_of_provider(command), theirs))
        asked = asked_of_server(command, more["pass_fds"])
        return self._become(asked, [*more["pass_fds"], stdout.fileno(), stderr.fileno()])

    def _become(self, asked: dict[str, Any], descriptors: Sequence[int]) -> Forked:
        assert self._control is not None
        with self._control as control:
            socket.send_fds(control, [json.dumps(asked).encode()], descriptors)
        self._control = None
        return child(self._pid)


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
