"""Worker functions that do harm. A task's workflow says which: `{"do": name, ...}`.

Each start leaves a file in settings["signals"], so that a test can count starts and find processes without
asking prealloc.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

from control_group import kill_as_the_kernel_does

from prealloc import LightweightTask, Retryable, TaskContext

FOR_EVER_S = 1000
STUBBORN = "trap '' TERM INT HUP; while :; do sleep 1; done"


def act(task: LightweightTask, ctx: TaskContext) -> Any:
    """Does what the task's workflow says."""
    started(task, ctx)
    do = task.workflow
    return ACTIONS[do["do"]](task, ctx, do)


async def act_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same on an event loop."""
    started(task, ctx)
    do = task.workflow
    if do["do"] == "sleep":
        await asyncio.sleep(do.get("s", FOR_EVER_S))
    elif do["do"] == "block":  # after a while in which others may end
        await asyncio.sleep(0.2)
        time.sleep(do["s"])
    elif do["do"] == "stubborn":
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOR_EVER_S)
    elif do["do"] == "gate":
        while not pathlib.Path(ctx.settings["signals"], "go").exists():
            await asyncio.sleep(0.01)
    elif do["do"] != "ok":
        return ACTIONS[do["do"]](task, ctx, do)
    return result(task, ctx)


def started(task: LightweightTask, ctx: TaskContext) -> None:
    """Leaves the trace of a start."""
    name = f"started.{task.id}.{ctx.repeat}.{ctx.attempt}.{os.getpid()}"
    pathlib.Path(ctx.settings["signals"], name).touch()


def result(task: LightweightTask, ctx: TaskContext) -> dict[str, Any]:
    """A result that is the same at every attempt."""
    return {"success": True, "score": 0.5, "task": task.id, "seed": ctx.seed, "text": 'äöü \u2028 \\ " \x00 ' * 3}


def ok(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    time.sleep(do.get("s", 0))
    return result(task, ctx)


def fail(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    time.sleep(do.get("s", 0))
    raise ValueError("the agent failed")


def kill_self(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    time.sleep(do.get("s", 0))
    os.kill(os.getpid(), do.get("signal", signal.SIGKILL))
    time.sleep(FOR_EVER_S)


def die(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Dies in as many ways, one at each start: by the `kernel`, as one that is out of memory, or from `outside`.

    Or the kernel has chosen a `child`.
    """
    start = len(list(pathlib.Path(ctx.settings["signals"]).glob(f"started.{task.id}.*"))) - 1
    how = do["how"][start] if start < len(do["how"]) else None
    if how == "outside":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "kernel":
        kill_as_the_kernel_does(os.getpid())
    elif how == "child":
        with subprocess.Popen(["sleep", "1000"]) as child:
            kill_as_the_kernel_does(child.pid)
    if how in ("outside", "kernel"):
        time.sleep(FOR_EVER_S)
    time.sleep(do.get("s", 0))
    return result(task, ctx)


def segv(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    return ctypes.string_at(0)


def os_exit(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    os._exit(do.get("code", 0))


def sys_exit(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    sys.exit(do.get("code", 0))


def gate(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    while not pathlib.Path(ctx.settings["signals"], do.get("opens_on", "go")).exists():
        time.sleep(0.01)
    time.sleep(do.get("s", 0))
    return result(task, ctx)


def loop(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    while True:
        pass


def sleep(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    time.sleep(do.get("s", FOR_EVER_S))
    return result(task, ctx)


def silent_socket(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        return client.recv(1)


def dripping_socket(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """A server that sends a byte now and then: a client's timeout of a second never comes."""

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        while True:
            connection.send(b"x")
            time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        with socket.create_connection(server.getsockname(), timeout=1) as client:
            while client.recv(1):
                pass


def gil_blocked(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """A C call that blocks and keeps the interpreter locked."""
    ctypes.PyDLL(None).sleep(FOR_EVER_S)


def gil_spinning(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """A C call that computes and keeps the interpreter locked."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def family(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Children that ignore SIGTERM, one of them in a session of its own with a grandchild; then as `then` says."""
    subprocess.Popen(["/bin/sh", "-c", STUBBORN])
    subprocess.Popen(["/bin/sh", "-c", f"({STUBBORN}) & {STUBBORN}"], start_new_session=True)
    pathlib.Path(ctx.settings["signals"], "family").touch()
    return ACTIONS[do.get("then", "sleep")](task, ctx, do)


def quiet_child(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """A child with streams of its own, in a session of its own; then holds the interpreter."""
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "1000"], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    quiet = pathlib.Path(ctx.settings["signals"], "quiet")
    quiet.with_suffix(".new").write_text(str(child.pid))
    quiet.with_suffix(".new").rename(quiet)
    return gil_blocked(task, ctx, do)


def flood(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Writes so many MB to standard output, in part past Python."""
    half = do["mb"] // 2
    for _ in range(half):
        sys.stdout.write("y" * (2**20 - 1) + "\n")
    for _ in range(do["mb"] - half):
        os.write(1, b"z" * (2**20 - 1) + b"\n")
    return result(task, ctx)


def hoard(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Takes `mb` of memory, all at once or `slow`ly, itself or in a `where`: child or grandchild (setsid)."""
    if where := do.get("where"):
        code = f"import agents; agents.take({do['mb']}, {do.get('slow', False)})"
        command = [sys.executable, "-c", code]
        if where == "grandchild":  # whose parent is gone by then
            command = ["/bin/sh", "-c", f"{shlex.join(command)} & sleep 0.2; exit 0"]
        with subprocess.Popen(command, start_new_session=True):
            time.sleep(do.get("s", FOR_EVER_S))
    return take(do["mb"], do.get("slow", False)) or result(task, ctx)


def dispositions(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """What a program that a task starts makes of signals, by each way to start one; and how a forked child ends."""
    status = ["/bin/cat", "/proc/self/status"]
    by_popen = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    kept = subprocess.run(status, capture_output=True, text=True, check=True, restore_signals=False).stdout
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.execv(status[0], status)
    os.close(writer)
    with open(reader) as file:
        by_exec = file.read()
    os.wait()
    child = os.fork()
    if child == 0:
        time.sleep(FOR_EVER_S)
    os.kill(child, signal.SIGTERM)
    return {"programs": [by_popen, kept, by_exec], "child": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}


def no_json(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Returns what JSON has no word for, or too much of it."""
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    values = {
        "nan": {"score": float("nan")},
        "bytes": {"blob": [b"x"]},
        "cycle": cycle,
        "surrogate": {"text": "\ud800"},
        "set": {"tags": {1, b"x"}},
        "key": {(1, 2): 3},
        "integer": {"n": 2**70},
    }
    return {"text": "x" * (100 * 2**20)} if do["what"] == "huge" else values[do["what"]]


def huge_error(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    raise ValueError("x" * (100 * 2**20))


KEPT: list[bytes] = []


def leak(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Leaves memory taken in its worker."""
    KEPT.append(b"x" * (do["mb"] * 2**20))
    time.sleep(0.1)
    return result(task, ctx)


def fork_with(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Children that only look at what their parent holds."""
    held = b"x" * (do["mb"] * 2**20)
    children = []
    for _ in range(do["children"]):
        if (child := os.fork()) == 0:
            time.sleep(1)
            os._exit(0 if held else 1)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return result(task, ctx)


def take(mb: int, slow: bool) -> None:
    """Holds so much memory, every page of it touched, for a second."""
    held = []
    step = 4 if slow else mb
    for _ in range(mb // step):
        held.append(b"x" * (step * 2**20))
        time.sleep(0.01)
    time.sleep(0.5)


def talk(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Prints so many KB to both streams and to its log, then does its work."""
    print("y" * 512 * do["kb"])
    print("z" * 512 * do["kb"], file=sys.stderr)
    ctx.log("done")
    return result(task, ctx)


def busy(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Infrastructure fails so many times, then the task works."""
    if ctx.attempt <= do["times"]:
        raise Retryable("the model is busy", after_s=do.get("after_s", 0.0))
    return result(task, ctx)


def turned_away(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """A server first asks to come back later, then the connection breaks, then the task works."""
    if ctx.attempt == 1:
        raise urllib.error.HTTPError("http://localhost", 429, "Too Many Requests", Message(), None)
    if ctx.attempt == 2:
        raise ConnectionResetError("reset")
    return result(task, ctx)


def wait(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Waits as for a rate limit, the first time."""
    if ctx.attempt == 1:
        with ctx.waiting():
            time.sleep(do.get("s", FOR_EVER_S))
    return result(task, ctx)


def open_library(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Opens the library in the way of `how`; says whether it got a byte of it. Swallows the refusal."""
    path: str = do["path"]
    try:
        got = len(WAYS[do["how"]](path))
    except Exception as error:
        return {"got": 0, "refused": type(error).__name__}
    return {"got": got, "refused": None}


def _builtin(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(10)


def _os_open(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    return os.read(descriptor, 10)


def _os_open_in_folder(path: str) -> bytes:
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    return os.read(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=folder), 10)


def _sqlite(path: str, **options: Any) -> bytes:
    with contextlib.closing(sqlite3.connect(path, **options)) as connection:
        # No database: that it is told so only after its first bytes have been read is what counts.
        try:
            connection.execute("select * from sqlite_master").fetchall()
        except sqlite3.DatabaseError as error:
            return b"read" if "not a database" in str(error) else b""
    return b""


def _copy(path: str) -> bytes:
    shutil.copyfile(path, f"{path}.copy")
    return pathlib.Path(f"{path}.copy").read_bytes()[:10]


def _symlink(path: str) -> bytes:
    return pathlib.Path(f"{path}.symlink").read_bytes()[:10]


def _hardlink(path: str) -> bytes:
    return pathlib.Path(f"{path}.hardlink").read_bytes()[:10]


WAYS: dict[str, Callable[[str], bytes]] = {
    "open": _builtin,
    "os.open": _os_open,
    "os.open in a folder": _os_open_in_folder,
    "pathlib": lambda path: pathlib.Path(path).read_bytes()[:10],
    "sqlite3": _sqlite,
    "sqlite3 by URI": lambda path: _sqlite(f"file:{path}?mode=ro", uri=True),
    "copy": _copy,
    "symlink": _symlink,
    "hard link": _hardlink,
}

ACTIONS: dict[str, Callable[[LightweightTask, TaskContext, dict[str, Any]], Any]] = {
    "ok": ok,
    "fail": fail,
    "kill_self": kill_self,
    "die": die,
    "segv": segv,
    "dispositions": dispositions,
    "os_exit": os_exit,
    "sys_exit": sys_exit,
    "gate": gate,
    "loop": loop,
    "sleep": sleep,
    "silent_socket": silent_socket,
    "dripping_socket": dripping_socket,
    "gil_blocked": gil_blocked,
    "gil_spinning": gil_spinning,
    "family": family,
    "quiet_child": quiet_child,
    "flood": flood,
    "no_json": no_json,
    "huge_error": huge_error,
    "hoard": hoard,
    "leak": leak,
    "fork_with": fork_with,
    "talk": talk,
    "busy": busy,
    "turned_away": turned_away,
    "wait": wait,
    "open_library": open_library,
}
