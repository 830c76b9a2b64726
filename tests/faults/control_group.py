"""Control groups for tests of memory that runs out: a scripted one anywhere, a real one where the kernel lets us."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

MB = 2**20
HERE = Path(__file__).parent
BYSTANDERS, BYSTANDERS_SCORE = 3, 300
_TREES = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


class ControlGroup:
    """A group with a limit of memory, and how a command is started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrap: tuple[str, ...] = ()
        """Words before the command."""
        self.environment: dict[str, str] = {}
        self.bystanders: list[subprocess.Popen[bytes]] = []
        """The kernel takes them after all workers, and before whoever has started those."""

    def kills(self) -> int:
        """Processes of the command that the OOM killer has killed."""
        counters = (self.folder / name for name in ("memory.events", "memory.oom_control"))
        (text,) = (counter.read_text() for counter in counters if counter.exists())
        others = sum(each.poll() is not None for each in self.bystanders)
        return int(dict(line.split() for line in text.splitlines())["oom_kill"]) - others


def scripted(root: Path, limit_mb: int) -> ControlGroup:
    """A group of version 2 that is made of files. Tasks play the kernel: agents.die."""
    group = ControlGroup(root / "group/job")
    group.folder.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/job\n")
    (root / "proc/self/mountinfo").write_text(f"35 31 0:32 / {root}/group rw - cgroup2 cgroup2 rw\n")
    (group.folder / "memory.max").write_text(f"{limit_mb * MB}\n")
    (group.folder / "memory.current").write_text("0\n")
    (group.folder / "memory.events").write_text("oom_kill 0\n")
    group.environment = {"SCRIPTED_PROC": str(root / "proc"), "PYTHONPATH": str(HERE / "scripted_kernel")}
    return group


def kill_as_the_kernel_does(pid: int) -> None:
    """Counts it in the scripted group, then kills. One killer at a time, and none is killed while it counts."""
    events = Path(os.environ["SCRIPTED_PROC"]).parent / "group/job/memory.events"
    with events.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        count = int(events.read_text().split()[1])
        events.with_suffix(".new").write_text(f"oom_kill {count + 1}\n")
        events.with_suffix(".new").rename(events)
        os.kill(pid, 9)


@contextlib.contextmanager
def real(limit_mb: int) -> Iterator[ControlGroup | None]:
    """A group of the kernel's, without swap; None where we may make none.

    The kernel no longer sees a process that is dying, though its memory is not given back yet. Then it takes the next
    one: without the bystanders that would be the master or the fork server.
    """
    name = f"prealloc-test-{os.getpid()}"
    made = next((group for tree in _TREES if (group := _made(tree / name, limit_mb)) is not None), None)
    try:
        if made is not None:
            bystander = f"echo {BYSTANDERS_SCORE} > /proc/self/oom_score_adj && exec sleep 1000"
            made.bystanders = [subprocess.Popen([*made.wrap, "/bin/sh", "-c", bystander]) for _ in range(BYSTANDERS)]
        yield made
    finally:
        if made is not None:
            for each in made.bystanders:
                each.kill()
                each.wait()
            _remove(made.folder)


def _made(folder: Path, limit_mb: int) -> ControlGroup | None:
    is_version_2 = folder.parent.name == "cgroup"
    try:
        if is_version_2 and "memory" not in (folder.parent / "cgroup.subtree_control").read_text().split():
            return None
        folder.mkdir()
    except OSError:
        return None
    try:
        (folder / ("memory.max" if is_version_2 else "memory.limit_in_bytes")).write_text(str(limit_mb * MB))
        if len(Path("/proc/swaps").read_text().splitlines()) > 1:
            name, most = ("memory.swap.max", 0) if is_version_2 else ("memory.memsw.limit_in_bytes", limit_mb * MB)
            (folder / name).write_text(str(most))
    except OSError:
        folder.rmdir()
        return None
    group = ControlGroup(folder)
    group.wrap = ("/bin/sh", "-c", f'echo $$ > "{folder}/cgroup.procs" && exec "$@"', "sh")
    return group


def _remove(folder: Path) -> None:
    for _ in range(200):  # processes that are dead may be in it for a moment
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
