"""Whole process trees: which descends from which, and the kill ladder. From /proc on Linux, elsewhere from psutil."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

_PAUSE_S = 0.002


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: float


def descendants(roots: Iterable[int]) -> list[Process]:
    """All processes below these, those that left their group or session too.

    It looks at everything that runs on the machine, but not for a process that asks about itself and has no child.
    """
    asked = [root for root in roots if root != os.getpid() or _has_child()]
    parents = _table() if asked else {}
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[Process] = []
    stack = asked
    while stack:
        for child in children.get(stack.pop(), ()):
            found.append(Process(child, parents[child][1]))
            stack.append(child)
    return found


def identify(pid: int) -> Process | None:
    """The process that has this number now."""
    row = _row(pid)
    return Process(pid, row[1]) if row else None


def parent_of(pid: int) -> int | None:
    """The parent's process id; None if there is no such process (any more)."""
    row = _row(pid)
    return row[0] if row else None


def began_at(pid: int) -> float | None:
    """When the process was started, in seconds since 1970; None if there is no such process (any more)."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def command_of(pid: int) -> str:
    """The words that the process was started with; nothing if that cannot be seen."""
    return _read(pid, "cmdline").decode(errors="replace").replace("\0", " ").strip()


def started_with(pid: int, name: str) -> str | None:
    """The value that an environment variable had when the process was started; None if that cannot be seen."""
    environment = b"\0" + _read(pid, "environ")
    found = environment.find(b"\0" + name.encode() + b"=")
    if found < 0:
        return None
    return environment[found + len(name) + 2 :].partition(b"\0")[0].decode(errors="replace")


def send_signal(processes: Iterable[Process], number: int) -> None:
    """Signals those that still live."""
    for process in processes:
        if identify(process.pid) == process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)


def kill_group(leader: int, number: int = signal.SIGKILL) -> None:
    """Signals a whole process group; its leader may be dead already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill_tree(leader: int) -> None:
    """Kills the leader of a process group, the group, and all that descends from it."""
    tree = [*filter(None, [identify(leader)]), *descendants([leader])]
    kill_group(leader)
    send_signal(tree, signal.SIGKILL)


class KillLadder:
    """Ends process trees by SIGTERM, and a step later by SIGKILL."""

    def __init__(self) -> None:
        self._steps: dict[float, list[Process]] = {}
        """What was sent SIGTERM, by the moment when SIGKILL follows."""

    @property
    def due_at(self) -> float:
        """When `climb` has something to do."""
        return min(self._steps, default=math.inf)

    def begin(self, leader: int, step_s: float, *, leader_gets: int) -> None:
        """Signals the leader of a process group, the group, and all that descends from it."""
        first, below = identify(leader), descendants([leader])
        kill_group(leader, signal.SIGTERM)  # a program hears it once: twice would cut its cleaning up short
        send_signal(below, signal.SIGTERM)
        if first is not None and leader_gets != signal.SIGTERM:
            send_signal([first], leader_gets)
        self._steps[time.monotonic() + step_s] = [*filter(None, [first]), *below]

    def climb(self, leaders: Collection[int]) -> None:
        """Kills what it is time for, and what that has started since. `leaders` have not been reaped yet."""
        now = time.monotonic()
        for moment in [moment for moment in self._steps if moment <= now]:
            tree = self._steps.pop(moment)
            younger = descendants(process.pid for process in tree if identify(process.pid) == process)
            for process in tree:
                kill_group(process.pid) if process.pid in leaders else None
            send_signal([*tree, *younger], signal.SIGKILL)


def end_all_below(leaders: Collection[int] = ()) -> dict[int, int]:
    """Kills all that is below this process, which adopts orphans, and waits for it: nothing is left.

    Gives the status of each child (as of os.waitpid). `leaders` are those of process groups to be killed with it.
    """
    ended: dict[int, int] = {}
    while True:
        for leader in leaders:
            kill_group(leader)
        send_signal(descendants([os.getpid()]), signal.SIGKILL)
        try:
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                ended[reaped[0]] = reaped[1]
        except ChildProcessError:
            return ended
        time.sleep(_PAUSE_S)


def end_marked(name: str, values: Collection[str], within_s: float) -> None:
    """Kills what was started with one of these values in an environment variable, and waits until it is gone."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        left = [Process(pid, row[1]) for pid, row in _table().items() if started_with(pid, name) in values]
        if not left:
            return
        send_signal(left, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def _has_child() -> bool:
    """Whether this process may have any, dead ones too that it has not waited for."""
    if sys.platform == "darwin":
        return True  # which has no waitid
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _table() -> dict[int, tuple[int, float]]:
    """{pid: (parent, start time)} of everything that runs."""
    if sys.platform == "linux":
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return {pid: row for pid in pids if (row := _row(pid)) is not None}
    import psutil

    return {
        process.pid: (process.info["ppid"], process.info["create_time"])
        for process in psutil.process_iter(["ppid", "create_time"])
    }


def _row(pid: int) -> tuple[int, float] | None:
    if sys.platform == "linux":
        text = _read(pid, "stat")
        if not text:
            return None
        # The name in parentheses may hold anything; fields after it: 0 state, 1 parent, ... 19 start time.
        fields = text[text.rfind(b")") + 2 :].split()
        return None if fields[0] == b"Z" else (int(fields[1]), float(fields[19]))
    import psutil

    try:
        process = psutil.Process(pid)
        return process.ppid(), process.create_time()
    except psutil.Error:
        return None


def _read(pid: int, name: str) -> bytes:
    """A file of /proc; nothing if the process is gone, or another user's."""
    with contextlib.suppress(OSError):
        file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)  # open() makes twice as many calls
        try:
            return b"".join(iter(lambda: os.read(file, 1 << 16), b""))
        finally:
            os.close(file)
    return b""
