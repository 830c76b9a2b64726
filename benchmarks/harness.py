"""Runs a way as a whole process (or several in a row) and measures it from outside."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import probe
from prealloc.processes.memory import proportional_bytes
from prealloc.processes.tree import descendants, end_all_below

ROOT = Path(__file__).resolve().parent.parent
TAIL = 2_000
"""Characters of a failed way's standard error that are shown."""

POLL_S = 0.02
GONE_S = 5.0
"""After a way has ended, its helpers (resource trackers and the like) get this long to end too."""
SETTLE_S = 0.5
"""Between the last start and the look at the memory: what was only needed to ship is given back by then."""

Command = Sequence[str]


class WayFailed(Exception):
    """A way did not do its work; the text says how."""


class Bench(NamedTuple):
    """Where the bench works, and the environment of everything it starts."""

    folder: Path
    environment: Mapping[str, str]


class Start(NamedTuple):
    """Scenario "start", one time."""

    seconds: float
    """From the start of the first process to the last worker's last task start."""
    workers_bytes: int
    master_bytes: int
    processes: int


def make_bench(folder: Path) -> Bench:
    """The environment is the caller's, with bytecode caches in the bench's own folder.

    Installed programs have their bytecode compiled; whether this checkout has, or may write it at all, is
    chance. So every way reads caches from one place, and the rounds that count come after one that fills it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    return Bench(folder, environment)


def run_start(bench: Bench, commands: Sequence[Command], *, workers: int, tasks: int, limit_s: float) -> Start:
    """Runs these commands in a row; the last one's process is the master. Raises WayFailed.

    When every worker has started its last task, and all of them wait in it, the memory is sampled. Then they
    are released, and the way must come to its end by itself with exit code 0.
    """
    marks = bench.folder / "marks"
    with _empty_folder(marks), open(marks / probe.RELEASE, "wb") as release, nothing_left():
        fcntl.flock(release, fcntl.LOCK_EX)
        environment = {**bench.environment, probe.FOLDER: str(marks), probe.TASKS: str(tasks)}
        began = time.monotonic()
        until = began + limit_s
        for command in commands[:-1]:
            run_whole(bench, command, limit_s=until - time.monotonic())
        with _started(bench, commands[-1], environment) as (master, tail):
            while not (starts := _last_starts(marks, workers, tasks)):
                if master.poll() is not None or time.monotonic() > until:
                    raise WayFailed(f"not all workers started all tasks{_ending(master)}{tail()}")
                time.sleep(POLL_S)
            time.sleep(SETTLE_S)
            below = {process.pid for process in descendants([os.getpid()])} - {master.pid}
            start = Start(
                seconds=max(starts) - began,
                workers_bytes=proportional_bytes(below),
                master_bytes=proportional_bytes([master.pid]),
                processes=len(below),
            )
            release.close()  # and its lock with it
            _wait(master, until - time.monotonic(), tail)
    return start


def run_whole(bench: Bench, command: Command, *, limit_s: float) -> tuple[float, str]:
    """Runs a command to its end. Returns its seconds and its standard output. Raises WayFailed."""
    with nothing_left():
        began = time.monotonic()
        with _started(bench, command, bench.environment) as (process, tail):
            _wait(process, limit_s, tail)
            seconds = time.monotonic() - began
        return seconds, (bench.folder / "stdout").read_text()


@contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever happens inside, no process below us is left behind. One that had to be killed is a failure."""
    try:
        yield
    except BaseException:
        end_all_below()
        raise
    until = time.monotonic() + GONE_S
    while (left := descendants([os.getpid()])) and time.monotonic() < until:
        time.sleep(POLL_S)
    end_all_below()
    if left:
        raise WayFailed(f"it left {len(left)} processes behind")


@contextmanager
def _started(
    bench: Bench, command: Command, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A process with its output in files (a pipe that nobody reads would stop it), and what shows the tail."""
    errors = bench.folder / "stderr"
    with open(bench.folder / "stdout", "wb") as out, open(errors, "wb") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, env=dict(environment)
        )
    try:
        yield process, lambda: f":\n{errors.read_text(errors='replace')[-TAIL:]}"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], limit_s: float, tail: Callable[[], str]) -> None:
    try:
        process.wait(max(0.0, limit_s))
    except subprocess.TimeoutExpired:
        raise WayFailed(f"not done in time{tail()}") from None
    if process.returncode != 0:
        raise WayFailed(f"failed{_ending(process)}{tail()}")


def _ending(process: subprocess.Popen[bytes]) -> str:
    return " in time" if process.poll() is None else f" (exit code {process.returncode})"


def _last_starts(marks: Path, workers: int, tasks: int) -> list[float]:
    """Each worker's last start, once all have started all of their tasks; nothing before."""
    sizes = [entry.stat().st_size for entry in os.scandir(marks) if entry.name.endswith(".marks")]
    if len(sizes) < workers or min(sizes) < tasks * probe.MARK.size:
        return []
    files = list(marks.glob("*.marks"))
    if len(files) != workers:
        raise WayFailed(f"{len(files)} workers ran tasks in place of {workers}")
    return [probe.MARK.unpack(file.read_bytes()[-probe.MARK.size :])[0] for file in files]


@contextmanager
def _empty_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    try:
        yield
    finally:
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
