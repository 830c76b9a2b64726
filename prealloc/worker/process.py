"""The first and last steps of a worker process: its place in the process tree, its output, its exit."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prealloc.files.faultpoint import Point, fault_point
from prealloc.processes.forks import forks
from prealloc.processes.parent import MARK, RUN_MARK, die_with, run_mark
from prealloc.processes.signals import leave_to_master, take_back
from prealloc.processes.tree import descendants, send_signal
from prealloc.worker.cleanup import run_cleanup
from prealloc.worker.function import WorkerFunction
from prealloc.worker.in_flight import InFlightTable, most_slots
from prealloc.worker.job import CleanupJob, unpack
from prealloc.worker.loop import run_worker

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_RESTORED = {"SIGPIPE", "SIGXFSZ"}

_OOM_SCORE = Path("/proc/self/oom_score_adj")
_DIES_EARLIER = 500
"""As if it held half of the memory of the machine."""


def main(channel: int, payload: int, log: int, table: int, parent: int, function: WorkerFunction | None = None) -> int:
    """Runs the job in the file `payload` and reports over the socket `channel` and on the in-flight `table`;
    all are descriptors.

    `parent` is the process that must outlive this one: when it dies, the kernel kills us.
    """
    _settle(log, parent)
    one_thread_each()
    if function is not None:
        _reseed()
        atexit._clear()  # what was registered before forking belongs to the process that we were forked from
    job = unpack(_read_all(payload))
    with contextlib.suppress(FileNotFoundError):  # the journal's writer says it better
        os.environ[RUN_MARK] = run_mark(Path(job.journal).parent)
    gc.enable()
    if isinstance(job, CleanupJob):
        code = run_cleanup(job, socket.socket(fileno=channel))
    else:
        rows = InFlightTable(table, most_slots(job.policy.concurrency))
        os.close(table)
        code = run_worker(job, socket.socket(fileno=channel), rows, function)
    # Processes that tasks have left running would outlive us, and nothing needs them any more.
    send_signal(descendants([os.getpid()]), signal.SIGKILL)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def become(command: Sequence[str], environment: Mapping[str, str], folder: str, log: int, parent: int) -> int:
    """Turns this process into another program, in a folder. Returns only if that cannot be: the exit code, as shells
    have it.
    """
    _settle(log, parent)
    gc.enable()
    for name in _RESTORED & vars(signal).keys():  # Python ignores these, and exec would hand that on
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    where = folder
    try:
        os.chdir(folder)
        where = command[0]
        os.execvpe(command[0], list(command), {**os.environ, **environment})
    except OSError as error:
        os.write(2, f"{where}: {error.strerror}\n".encode())
    return 127


def _settle(log: int, parent: int) -> None:
    """Takes this process's place: in a group of its own, marked, with the log as its output, ending with `parent`."""
    with contextlib.suppress(PermissionError):
        os.setsid()  # a group of its own: the terminal's Ctrl-C is not for us, and the kill ladder finds all
    die_with(parent)
    _die_first()
    fault_point(Point.WORKER_BORN)
    os.environ[MARK] = str(os.getpid())
    leave_to_master()
    forks.do(take_back, take_back)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _redirect(log)


def _die_first() -> None:
    """Has the kernel choose this process and what it starts before the master and the fork server, should memory run
    out: they lose one attempt, those the run. What protects those (a score below 0) is not handed on.
    """
    with contextlib.suppress(OSError, ValueError):
        now = max(int(_OOM_SCORE.read_text()), 0)
        _OOM_SCORE.write_text(str(min(now + _DIES_EARLIER, 1000)))


def one_thread_each() -> None:
    """Has numerical libraries start no threads of their own, unless the user says otherwise.

    Workers fill the machine already: a thread per core in each of them only makes all of them slower.
    And a module whose import starts threads cannot be loaded before forking. OpenBLAS and MKL heed OMP_NUM_THREADS
    where their own variable is not set.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        for name in _THREADS:
            os.environ.setdefault(name, "1")


def _reseed() -> None:
    """Gives this process its own numbers of numpy's global generator, as `random` does by itself after a fork."""
    seed = getattr(sys.modules.get("numpy.random"), "seed", None)
    if seed is not None:
        seed()


def _redirect(log: int) -> None:
    """Standard input is empty, standard output and error go to the shard's log, line by line."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(nothing)
    os.close(log)


def text_streams() -> None:
    """Has standard output and error written line by line, whatever they hold. Forked workers inherit this.

    What a task prints goes to a log. A full disk is not a failure of the task: without this, a
    `print` would raise, and the task would be `failed` for good.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)


class _Log(io.FileIO):
    """Drops what cannot be written."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def _text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(_Log(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _read_all(descriptor: int) -> bytes:
    """The whole file behind a descriptor, which is closed."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)  # one buffer of just this size, freed as a whole
    while len(content) < size:
        content += os.pread(descriptor, size - len(content), len(content))
    os.close(descriptor)
    return content
