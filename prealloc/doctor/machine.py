"""What runs need of this machine: open files and processes, memory, clocks, and what /proc shows of a child."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, problem, warning
from prealloc.engines.admission import MOST_WORKERS, USABLE, expected_bytes
from prealloc.model.words import size
from prealloc.processes.cgroups import Bound, tightest
from prealloc.processes.memory import proportional_bytes
from prealloc.processes.tree import descendants, started_with

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

FEW_WORKERS = 4
"""If memory allows fewer, that is a warning."""

COARSE_S = 0.01
"""A monotonic clock with longer ticks is too rough for the times of short tasks."""
APART_S = 0.02
LOOK_S = 0.2
"""Clocks that go apart by more than APART_S within this time: one of them is being set."""

_MARK = "PREALLOC_DOCTOR"


def descriptors_needed(workers: int) -> int:
    """Open files of a master with this many shards at work."""
    return workers * INCARNATIONS * DESCRIPTORS + DESCRIPTORS_TO_START + DESCRIPTORS_AT_ALL


def processes_needed(workers: int) -> int:
    """Threads of a run with this many shards at work, as the kernel counts them: the fork server with them."""
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
    """None: there is no limit."""
    need = descriptors_needed(MOST_WORKERS)
    if soft is None or soft >= need:
        told = "no limit" if soft is None else f"{soft:,} allowed"
        return ok("open files", f"{told}; {need} needed for {MOST_WORKERS} workers at once")
    room_for = max(0, (soft - DESCRIPTORS_TO_START - DESCRIPTORS_AT_ALL) // (INCARNATIONS * DESCRIPTORS))
    seen = f"{soft:,} allowed, enough for {room_for} workers at once; {MOST_WORKERS} need {need}"
    raised = 4096 if hard is None else min(4096, hard)
    hint = f"ulimit -n {raised}" if raised >= need else "raise the hard limit (ulimit -Hn)"
    return problem("open files", seen, f"{hint}; or run with ‹workers› {room_for}" if room_for else hint)


def check_processes(room: dict[str, int]) -> Finding:
    """`room` is how many more threads each limit allows, by its name."""
    need = processes_needed(MOST_WORKERS)
    if not room:
        return ok("processes", "no limit was found")
    name = min(room, key=lambda name: room[name])
    left = max(0, room[name])
    if left >= need:
        return ok("processes", f"room for {left:,} more threads ({name}); {need} needed for {MOST_WORKERS} workers")
    room_for = max(0, (left - 2) // (INCARNATIONS * THREADS))
    seen = f"{name} leaves room for {left:,} more threads, {room_for} workers; {MOST_WORKERS} need {need}"
    if room_for == 0:
        return problem("processes", seen, f"raise {name}")
    return warning("processes", seen, f"raise {name}, or run with ‹workers› {room_for}")


def check_memory() -> list[Finding]:
    """Free memory, swap, and the control groups."""
    import psutil

    machine, swap = psutil.virtual_memory(), psutil.swap_memory()
    return [
        check_free(machine.total, machine.available, tightest("memory")),
        check_swap(swap.total, swap.used),
    ]


def check_free(total: int, available: int, bound: Bound | None) -> Finding:
    """`available` is the machine's; what a control group leaves of it counts for the engine too."""
    seen = f"{size(available)} of {size(total)} available"
    free = available
    if bound is not None and bound.left < available:
        seen += f"; the control group {bound.folder} allows {size(bound.limit)}, {size(bound.left)} of it free"
        free = bound.left
    workers = workers_in(free)
    if workers < FEW_WORKERS:
        hint = "end other programs here, raise the control group's limit, or use a larger machine"
        return warning("memory", f"{seen}: enough for {workers} workers", hint)
    return ok("memory", f"{seen}: enough for {min(workers, MOST_WORKERS)} workers, without their slices")


def check_swap(total: int, used: int) -> Finding:
    """A machine that swaps makes agents time out through no fault of theirs."""
    if total == 0:
        return ok("swap", "none: whatever exceeds the memory is killed at once")
    seen = f"{size(used)} of {size(total)} used"
    if used > 0.8 * total:
        return warning("swap", seen, "end other programs here: tasks would time out while they wait for the disk")
    return ok("swap", seen)


def workers_in(free: int) -> int:
    """Workers that the engine would start with this much memory, before their slices."""
    return int(free * USABLE) // expected_bytes(0)


def check_clocks(
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """How finely the monotonic clock ticks, and whether the wall clock goes with it."""
    step_s = _step(monotonic)
    if step_s > COARSE_S:
        found = [
            warning("monotonic clock", f"it ticks every {step_s * 1000:.0f} ms", "times of short tasks are inexact")
        ]
    else:
        found = [ok("monotonic clock", f"it ticks every {step_s * 1e6:.1f} µs or finer")]
    began = monotonic(), wall()
    sleep(LOOK_S)
    apart_s = (wall() - began[1]) - (monotonic() - began[0])
    if abs(apart_s) > APART_S:
        seen = f"it moved {apart_s * 1000:+.0f} ms against the monotonic clock in {LOOK_S:g} s: it is being set"
        hint = "wait until the time service has settled; deadlines hold, started_at in the journal is wrong"
        return [*found, warning("wall clock", seen, hint)]
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall()))
    return [*found, ok("wall clock", f"{date}, in step with the monotonic clock")]


def check_proc() -> list[Finding]:
    """Asks the engine's own questions of a child of this process."""
    if sys.platform != "linux":
        return [ok("processes' state", "there is no /proc: psutil is used, memory is shown as resident set sizes")]
    # cat reads its input until it is closed: nothing is left whatever happens to us.
    child = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, _MARK: "child"}
    )
    try:
        return judge_proc(
            tree=any(process.pid == child.pid for process in descendants([os.getpid()])),
            memory=proportional_bytes([child.pid]) > 0,
            environment=started_with(child.pid, _MARK) == "child",
            children=Path(f"/proc/self/task/{os.getpid()}/children").exists(),
        )
    finally:
        child.kill()
        child.communicate()


def judge_proc(*, tree: bool, memory: bool, environment: bool, children: bool) -> list[Finding]:
    """What it means that /proc shows this of a child, or does not."""
    hint = "mount /proc without hidepid, and let processes of one user see each other (ptrace_scope, seccomp)"
    if not tree:
        seen = "/proc does not show a child of this process: processes that tasks start would outlive a killed worker"
        return [problem("/proc", seen, hint)]
    unseen = [
        (memory, "smaps_rollup is not readable: runs cannot show memory"),
        (environment, "environ is not readable: orphans that left their session cannot be found"),
    ]
    found = [warning("/proc", seen, hint) for readable, seen in unseen if not readable]
    also = "" if children else " (there is no list of children: the whole process table is read)"
    return found or [ok("/proc", f"stat, smaps_rollup and environ of a child are readable{also}")]


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
    """Threads on this machine; None where /proc does not show them."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return None


def _step(clock: Callable[[], float]) -> float:
    """The least difference between two readings that differ."""
    smallest = float("inf")
    for _ in range(20):
        first = clock()
        # Bounded: a clock that stands still is as coarse as can be.
        second = next((now for _ in range(1_000_000) if (now := clock()) > first), first + 1.0)
        smallest = min(smallest, second - first)
    return smallest
