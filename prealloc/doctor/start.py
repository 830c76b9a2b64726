"""Starts real workers as a run does: one that ends well and leaves an orphan, one whose parent is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from prealloc.doctor.finding import Finding, ok, problem, refused, warning
from prealloc.engines.base import WorkerCheck
from prealloc.engines.fork_messages import Born, Died
from prealloc.engines.launch import Launcher
from prealloc.engines.local import make_launcher
from prealloc.engines.spawn_launcher import SpawnLauncher
from prealloc.errors import JournalError, PreallocError
from prealloc.files.paths import JournalName
from prealloc.model.policy import RunPolicy
from prealloc.processes.tree import Process, identify, send_signal
from prealloc.store.journal import JournalFile, read_lines
from prealloc.store.journal_lines import AttemptLine
from prealloc.worker.in_flight import most_slots, new_descriptor
from prealloc.worker.job import WorkerJob, pack

Answer = TypeVar("Answer")

WORKER = "prealloc.doctor.agent:act"
START_S = 8.0
DEATH_S = 2.0
_INLINE = "run with ‹engine› inline, or fix what the system refuses"


def check_start(folder: Path, make: Callable[[], Launcher] = make_launcher) -> list[Finding]:
    """How workers start here, and that none outlives its fork server. `folder` takes the probe's files."""
    found = [_check_memfd()]
    began = time.monotonic()
    try:
        with contextlib.closing(make()) as launcher:
            launcher.check(WorkerCheck(WORKER, ()))
            ready_s = time.monotonic() - began
            return [*found, *_Start(launcher, folder).check(ready_s)]
    except PreallocError as error:
        return [*found, refused("start method", error, hint=_INLINE)]


def _check_memfd() -> Finding:
    if hasattr(os, "memfd_create"):
        try:
            os.close(os.memfd_create("prealloc-doctor"))
            return ok("memfd", "jobs and in-flight tables are in anonymous memory")
        except OSError as error:
            return problem("memfd", f"the system refuses it: {error.strerror}", "allow memfd_create (seccomp?)")
    return warning(
        "memfd",
        "this system has none: unnamed temporary files are used instead",
        "see that TMPDIR has space, or use Linux",
    )


class _Start:
    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self._launcher = launcher
        self._folder = folder
        self._method = "spawn" if isinstance(launcher, SpawnLauncher) else "fork server"

    def check(self, ready_s: float) -> list[Finding]:
        """Both workers; the second only where there is a fork server that can die."""
        began = time.monotonic()
        with self._started(1, "orphan") as journal:
            died = _wait_for(self._died, START_S)
        if died is None:
            return [problem("start method", f"{self._method}: a worker did not end within {START_S:g} s", _INLINE)]
        result = _result_in(journal)
        if died.status != 0 or result is None:
            seen = f"{self._method}: a worker ended with status {died.status}, and its task has no result"
            return [problem("start method", seen, _INLINE, where=str(self._folder))]
        seen = f"{self._method}, up in {ready_s:.2f} s; a worker ran a task and was reaped in "
        found = [ok("start method", f"{seen}{time.monotonic() - began:.2f} s")]
        if not self._launcher.helpers():
            return found  # spawned workers have no fork server that adopts orphans or takes workers with it
        found.append(_check_adoption(result, self._launcher.helpers()[0]))
        found.append(self._check_death_signal())
        return found

    def _check_death_signal(self) -> Finding:
        waits = self._folder / "waits"
        with self._started(2, "wait"):
            worker = _wait_for(self._born, START_S)
            if worker is None or _wait_for(waits.exists, START_S) is None:
                return problem("death signal", f"a second worker did not start within {START_S:g} s", _INLINE)
            began = time.monotonic()
            os.kill(self._launcher.helpers()[0], signal.SIGKILL)
            gone = _wait_for(lambda: identify(worker.pid) != worker, DEATH_S)
        if gone is None:
            send_signal([worker], signal.SIGKILL)
            _wait_for(lambda: identify(worker.pid) != worker, START_S)
            seen = f"a worker still ran {DEATH_S:g} s after its fork server was killed"
            return problem(
                "death signal",
                seen,
                "allow prctl(PR_SET_PDEATHSIG) (seccomp?); until then, end stray processes yourself",
            )
        took_ms = (time.monotonic() - began) * 1000
        return ok("death signal", f"a worker was gone {took_ms:.0f} ms after its fork server was killed")

    @contextlib.contextmanager
    def _started(self, tag: int, do: str) -> Iterator[Path]:
        """Starts a worker with one task; gives its journal file. Our end of its channel is open until the end."""
        journal = self._folder / f"probe.0001.{tag:04d}.jsonl"
        job = WorkerJob(
            shard="probe",
            settings={"waits": str(self._folder / "waits")},
            tasks={0: (do, "probe", b'"%b"' % do.encode(), b"{}")},
            orders=((0, 0, 1, 0, 0.0, 0),),
            worker=WORKER,
            policy=RunPolicy(),
            journal=str(journal),
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        table = new_descriptor(most_slots(job.policy.concurrency))
        log = os.open(self._folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            self._launcher.start(tag, theirs, pack(job), log, table)
            theirs.close()
            yield journal
        finally:
            for end in (ours, theirs):
                end.close()
            os.close(table)
            os.close(log)

    def _died(self) -> Died | None:
        return next((each for each in self._launcher.happened() if isinstance(each, Died)), None)

    def _born(self) -> Process | None:
        born = next((each for each in self._launcher.happened() if isinstance(each, Born)), None)
        return identify(born.pid) if born else None


def _wait_for(ask: Callable[[], Answer | None], most_s: float) -> Answer | None:
    """The first answer that is one; None if none comes in time."""
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.002)
    return None


def _result_in(journal: Path) -> int | None:
    """What the worker function returned, from the worker's own journal file."""
    try:
        lines = [line.content for line in read_lines(JournalFile(journal, JournalName(1, "probe", 1)))]
    except (JournalError, FileNotFoundError):
        return None
    results = [msgspec.json.decode(line.result) for line in lines if isinstance(line, AttemptLine)]
    return results[0] if results and isinstance(results[0], int) else None


def _check_adoption(adopter: int, server: int) -> Finding:
    if adopter == server:
        return ok("subreaper", "processes that a task leaves running pass to the fork server, which ends them")
    seen = f"an orphan of a task passed to process {adopter}, not to the fork server ({server})"
    return problem("subreaper", seen, "allow prctl(PR_SET_CHILD_SUBREAPER) (seccomp?)")
