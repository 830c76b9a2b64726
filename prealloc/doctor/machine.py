"""How many open files and processes a run may have, against what its workers need."""

from __future__ import annotations

import os
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, problem, warning
from prealloc.engines.admission import MOST_WORKERS
from prealloc.processes.cgroups import tightest

DESCRIPTORS = 2
"""Of the master's, for each worker: its channel, and its in-flight table, which mmap keeps open."""
DESCRIPTORS_TO_START = 4
"""For a moment, for one worker at a time: the channel's far end, the table's own, the log, the job."""
DESCRIPTORS_AT_ALL = 32
"""The streams, the journal, the lock, the fork server, and what Python and the observer have open."""
THREADS = 2
"""Of each worker: the control thread and one server."""
INCARNATIONS = 2
"""A worker that retires stands beside its replacement."""


def descriptors_needed(workers: int) -> int:
    """Open files of a master with so many shards at work."""
    return workers * INCARNATIONS * DESCRIPTORS + DESCRIPTORS_TO_START + DESCRIPTORS_AT_ALL


def processes_needed(workers: int) -> int:
    """Threads of a run with so many shards at work, as the kernel counts them: the fork server with them."""
    return workers * INCARNATIONS * THREADS + 2


def check_limits() -> list[Finding]:
    """RLIMIT_NOFILE; RLIMIT_NPROC, the kernel's threads-max and the control group's pids.max."""
    if os.name != "posix":
        return []
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = [check_open_files(*(None if n == resource.RLIM_INFINITY else n for n in (soft, hard)))]
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0] if hasattr(resource, "RLIMIT_NPROC") else -1
    room: dict[str, int] = {}
    if most != resource.RLIM_INFINITY and os.geteuid() != 0:  # the kernel lets root pass
        room["RLIMIT_NPROC (ulimit -u)"] = most - _own_threads()
    running = _running()
    for name in ("threads-max", "pid_max"):
        limit = _number(Path("/proc/sys/kernel", name))
        if running is not None and limit is not None:
            room[f"kernel.{name}"] = limit - running
    if bound := tightest("pids"):
        room[f"pids.max of {bound.folder}"] = bound.left
    return [*found, check_processes(room)]


def check_open_files(soft: int | None, hard: int | None) -> Finding:
    """None is no limit."""
    need = descriptors_needed(MOST_WORKERS)
    if soft is None or soft >= need:
        told = "no limit" if soft is None else f"{soft:,} allowed"
        return ok("open files", f"{told}; {need} needed for {MOST_WORKERS} workers at once")
    bears = max(0, (soft - DESCRIPTORS_TO_START - DESCRIPTORS_AT_ALL) // (INCARNATIONS * DESCRIPTORS))
    seen = f"{soft:,} allowed, enough for {bears} workers at once; {MOST_WORKERS} need {need}"
    raised = 4096 if hard is None else min(4096, hard)
    hint = f"ulimit -n {raised}" if raised >= need else "raise the hard limit (ulimit -Hn)"
    return problem("open files", seen, f"{hint}; or run with --workers {bears}" if bears else hint)


def check_processes(room: dict[str, int]) -> Finding:
    """`room` is how many more threads each limit allows, by its name."""
    need = processes_needed(MOST_WORKERS)
    if not room:
        return ok("processes", "no limit was found")
    name = min(room, key=lambda name: room[name])
    left = max(0, room[name])
    if left >= need:
        return ok("processes", f"room for {left:,} more threads ({name}); {need} needed for {MOST_WORKERS} workers")
    bears = max(0, (left - 2) // (INCARNATIONS * THREADS))
    seen = f"{name} leaves room for {left:,} more threads, {bears} workers; {MOST_WORKERS} need {need}"
    if bears == 0:
        return problem("processes", seen, f"raise {name}")
    return warning("processes", seen, f"raise {name}, or run with --workers {bears}")


def _own_threads() -> int:
    import psutil

    own = os.getuid()
    rows = (process.info for process in psutil.process_iter(["uids", "num_threads"]))
    return sum(row["num_threads"] or 0 for row in rows if row["uids"] and row["uids"].real == own)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no Linux, or a sandbox that hides it
        return None


def _running() -> int | None:
    """Threads that there are on this machine; None where /proc does not tell."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return None
