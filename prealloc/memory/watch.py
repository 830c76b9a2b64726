"""One way from its start to its end: starts its master, samples all its processes, leaves none of them behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prealloc.memory.child import ENDED, FIRST, FOLDER, JOB, LOG, MARKS, READY, RELEASE, WORKER, Job, dying_with_us
from prealloc.memory.ways import Way
from prealloc.processes.memory import Footprint, footprint
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.tree import descendants, end_marked, kill_group, send_signal

LOOK_S = 0.02
SAMPLE_S = 0.25
SAMPLE_COST = 10
"""While workers start, the next sample waits for this many times what the last one took: looking slows them down."""
END_S = 30.0
"""A way whose workers are released gets this long to end by itself."""
GONE_S = 10.0
READY_S = 1800.0


class Reached(NamedTuple):
    """How far a way is, for people who wait."""

    ready: int
    workers: int
    elapsed_s: float
    pss: int


class Look(NamedTuple):
    """All processes of a way at one moment, in seconds from its start."""

    at_s: float
    ready: int
    found: dict[int, Footprint]


class Watched(NamedTuple):
    """What one way did."""

    firsts: dict[int, float]
    """By a worker's pid: when it had read its first task, in seconds from the start."""
    looks: list[Look]
    first_ready: int
    """The position of the first look with all workers ready."""
    ended: dict[str, Any]
    """What the master wrote down."""


class WayFailed(Exception):
    """A way did not come to its end: why, in one line."""


def watch(way: Way, job: Job, folder: Path, seconds: float, tell: Callable[[Reached], None]) -> Watched:
    """Runs a way in an empty folder. Raises WayFailed. However this ends, no process of the way is left."""
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    began = time.monotonic()
    with _master(way, folder) as master:
        looks: list[Look] = []
        due = began + SAMPLE_S
        marks = _read_marks(folder)
        while len(marks[READY]) < job.workers:
            _check(master, folder)
            now = time.monotonic()
            if now - began > READY_S:
                raise WayFailed(f"its workers were not ready within {READY_S / 60:g} minutes")
            if now >= due:
                looks.append(_look(master, began, len(marks[READY])))
                due = time.monotonic() + max(SAMPLE_S, SAMPLE_COST * (time.monotonic() - now))
                tell(_reached(looks[-1], job, now - began))
            time.sleep(LOOK_S)
            marks = _read_marks(folder)
        first_ready = len(looks)
        until = time.monotonic() + seconds
        while True:
            looks.append(_look(master, began, job.workers))
            tell(_reached(looks[-1], job, time.monotonic() - began))
            _check(master, folder)
            left = until - time.monotonic()
            if left <= 0 and len(looks) > first_ready + 1:  # two at least, or nothing could be said of growth
                break
            time.sleep(max(0.0, min(SAMPLE_S, left)))
        (folder / RELEASE).touch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            master.wait(END_S)
        if master.returncode != 0:
            raise WayFailed(_why(master, folder))
    firsts = {pid: at - began for pid, at in marks[FIRST].items()}
    if len(firsts) != job.workers:
        raise WayFailed(f"{len(firsts)} processes read tasks instead of {job.workers}: some died and were replaced")
    if gone := firsts.keys() - looks[-1].found.keys():
        raise WayFailed(f"{len(gone)} of {job.workers} workers died while they were measured")
    ended = folder / ENDED
    return Watched(firsts, looks, first_ready, json.loads(ended.read_text()) if ended.exists() else {})


@contextlib.contextmanager
def _master(way: Way, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    module, function = way.master.split(":")
    code = f"{dying_with_us()}from {module} import {function}; {function}()"
    with open(folder / LOG, "wb") as log:
        master = subprocess.Popen(
            fresh_interpreter(code),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, FOLDER: str(folder)},
            start_new_session=True,  # the terminal's Ctrl-C is for us, who then end all of them
        )
    try:
        yield master
    finally:
        _end_all(master, str(folder))


def _end_all(master: subprocess.Popen[bytes], folder: str) -> None:
    """Kills what is left of a way, also what has left the master's group and its tree."""
    if master.poll() is None:
        below = descendants([master.pid])
        kill_group(master.pid)
        master.wait()
        send_signal(below, signal.SIGKILL)
    end_marked(FOLDER, {folder}, GONE_S)


def _look(master: subprocess.Popen[bytes], began: float, ready: int) -> Look:
    pids = [master.pid, *(process.pid for process in descendants([master.pid]))]
    at_s = time.monotonic() - began
    return Look(at_s, ready, {pid: found for pid in pids if (found := footprint(pid)) is not None})


def _reached(look: Look, job: Job, elapsed_s: float) -> Reached:
    return Reached(look.ready, job.workers, elapsed_s, sum(each.pss for each in look.found.values()))


def _read_marks(folder: Path) -> dict[str, dict[int, float]]:
    marks: dict[str, dict[int, float]] = {FIRST: {}, READY: {}}
    with contextlib.suppress(FileNotFoundError):
        text = (folder / MARKS).read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():  # the last line may still be on its way
            pid, what, at = line.split()
            marks[what][int(pid)] = float(at)
    return marks


def _check(master: subprocess.Popen[bytes], folder: Path) -> None:
    if master.poll() is not None:
        raise WayFailed(_why(master, folder))


def _why(master: subprocess.Popen[bytes], folder: Path) -> str:
    if master.returncode is None:
        return f"its processes did not end within {END_S:g} s when told to stop"
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    code = master.returncode
    ended = f"its master was killed by signal {-code}" if code < 0 else f"its master ended with exit code {code}"
    if len(lines) > 1 and lines[-1].startswith(WORKER):  # and above it what the worker said
        return f"{lines[-1]}: {lines[-2]}"
    return lines[-1] if lines else ended + (" (out of memory?)" if code == -9 and sys.platform == "linux" else "")
