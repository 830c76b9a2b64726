"""Whether /proc tells of a child what the engine asks: its place in the tree, its memory, its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, problem, warning
from prealloc.processes.memory import proportional_bytes
from prealloc.processes.tree import descendants, started_with

_MARK = "PREALLOC_DOCTOR"


def check_proc(proc: Path = Path("/proc")) -> list[Finding]:
    """Asks the engine's own questions of a child of this process."""
    if sys.platform != "linux":
        return [ok("processes' state", "no /proc here: psutil tells it, memory as resident set sizes")]
    # cat reads its input until it is closed: nothing is left whatever happens to us.
    child = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, _MARK: "child"}
    )
    try:
        return judge_proc(
            tree=any(process.pid == child.pid for process in descendants([os.getpid()])),
            memory=proportional_bytes([child.pid]) > 0,
            environment=started_with(child.pid, _MARK) == "child",
            children=(proc / str(os.getpid()) / "task" / str(os.getpid()) / "children").exists(),
        )
    finally:
        child.kill()
        child.communicate()


def judge_proc(*, tree: bool, memory: bool, environment: bool, children: bool) -> list[Finding]:
    """What it means that /proc tells this of a child, or does not."""
    hint = "mount /proc without hidepid, and let processes of one user see each other (ptrace_scope, seccomp)"
    if not tree:
        seen = "/proc does not show a child of this process: what tasks start would outlive its kill"
        return [problem("/proc", seen, hint)]
    unseen = [
        (memory, "smaps_rollup is not readable: the run would show no memory"),
        (environment, "environ is not readable: what leaves its session and is orphaned is found by nobody"),
    ]
    found = [warning("/proc", seen, hint) for readable, seen in unseen if not readable]
    also = "" if children else " (no list of children: the whole table is walked, as always)"
    return found or [ok("/proc", f"stat, smaps_rollup and environ of a child are readable{also}")]
