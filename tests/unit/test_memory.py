"""Memory: who holds it, and how many workers it bears."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prealloc.engines.admission import USABLE, Admission, expected_bytes
from prealloc.engines.memory_watch import ProcessTrees
from prealloc.processes import memory
from prealloc.processes.cgroups import SETTLED_S, Bound, OomKills
from prealloc.processes.memory import available_bytes, proportional_bytes, resident_bytes
from prealloc.processes.parent import MARK
from prealloc.processes.tree import parent_of
from prealloc.worker import process

MB = 2**20


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """A process with a child, and another child that has one itself; it tells their ids."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "middle = subprocess.Popen(['sh', '-c', 'sleep 60 & echo $!; wait'], stdout=subprocess.PIPE, text=True)\n"
        "print(child.pid, middle.pid, middle.stdout.readline().strip(), flush=True)\n"
        "middle.wait(); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    os.killpg(process.pid, 9)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_process_trees(worker: subprocess.Popen[str]) -> None:
    """A family is the worker and what it started; who was once of it stays when its parent dies; others are not."""
    assert worker.stdout is not None
    trees = ProcessTrees()
    others = subprocess.Popen(["sleep", "60"])
    try:
        child, middle, grandchild = map(int, worker.stdout.readline().split())
        (tree,) = trees.look([worker.pid]).values()
        assert tree[0] == worker.pid
        assert set(tree) == {worker.pid, child, middle, grandchild}
        os.kill(middle, signal.SIGKILL)
        # A process gives its children away some moments before it is listed as dead.
        end = time.monotonic() + 10
        while middle in trees.look([worker.pid])[worker.pid] and time.monotonic() < end:
            time.sleep(0.01)
        assert parent_of(grandchild) != middle
        assert set(trees.look([worker.pid])[worker.pid]) == {worker.pid, child, grandchild}
        assert trees.look([]) == {}
    finally:
        others.kill()
        others.wait()


def test_an_orphan_is_known_by_its_workers_mark(worker: subprocess.Popen[str]) -> None:
    """Never seen with a living parent: its environment says whose it is; the mark of another run is not ours."""
    code = "import os, sys, time; os.setsid(); time.sleep(60)"
    marked = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: str(worker.pid)})
    stranger = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: "1"})
    try:
        tree = ProcessTrees().look([worker.pid])[worker.pid]
        assert marked.pid in tree
        assert stranger.pid not in tree
    finally:
        for process in (marked, stranger):
            process.kill()
            process.wait()


def test_a_child_of_a_worker_that_was_not_known_yet(worker: subprocess.Popen[str]) -> None:
    """Looked at before its parent was told to be a worker, it is that worker's all the same afterwards."""
    assert worker.stdout is not None
    child = int(worker.stdout.readline().split()[0])
    trees = ProcessTrees()
    trees.look([])
    assert child in trees.look([worker.pid])[worker.pid]


def test_what_processes_hold() -> None:
    """Resident memory is at least the proportional, which is at least what this process surely holds alone."""
    held = b"x" * (64 * MB)
    assert resident_bytes([os.getpid()]) >= proportional_bytes([os.getpid()]) >= len(held)
    assert proportional_bytes([]) == resident_bytes([2**22 + 1]) == 0


def test_a_control_group_limits_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a control group leaves less than the machine has, that is what workers may take."""
    monkeypatch.setattr(memory, "tightest", lambda kind: None)
    assert available_bytes() > 100 * MB
    monkeypatch.setattr(memory, "tightest", lambda kind: Bound(100 * MB, 70 * MB, "group"))
    assert available_bytes() == 70 * MB


def test_admission() -> None:
    """A worker may start if it and those that run may all grow to what is typical; the first always may."""
    free = 0
    admission = Admission(0, available=lambda: free)
    assert admission.refusal([]) is None  # else nothing would ever run
    assert admission.refusal(["a"]) is not None
    free = int(2 * expected_bytes(0) / USABLE) + 2
    admission.look({})
    assert admission.refusal(["a"]) is None  # `a` has not been measured: it may take as much as the next one
    assert admission.refusal(["a", "b"]) is not None
    admission.look({"a": 100 * MB})
    assert "105 MB" in (admission.refusal(["a"]) or "")
    free = int(100 * MB / USABLE) + 2
    admission.look({"a": 100 * MB})
    assert admission.refusal(["a"]) is None  # it holds what is typical, so only the next one needs more
    assert admission.refusal(["a", "b"]) is not None


def test_workers_that_the_memory_did_not_bear() -> None:
    """After an OOM kill no more run than were left, and one always may; told when that is news, until forgotten."""
    admission = Admission(0, available=lambda: 1000 * MB)
    assert admission.narrow(9) == 9
    assert [admission.narrow(others) for others in (8, 7, 9, 5)] == [None] * 4
    assert admission.refusal(list("abcd")) is None
    assert "memory ran out with more" in (admission.refusal(list("abcde")) or "")
    assert admission.narrow(4) == 4
    assert admission.narrow(0) == 1  # one may always run
    assert admission.refusal([]) is None
    assert admission.refusal(["a"]) is not None
    admission.forget()
    assert admission.refusal(list("abcde")) is None


SIGKILL, SIGSEGV, EXIT_1 = 9, 11, 1 << 8


class Kernel:
    """A /proc with a control group below `limit`, whose OOM kills are counted as this kernel version would."""

    def __init__(self, root: Path, version: int | None) -> None:
        self.proc, group, self.now = root / "proc", root / "group/job", 0.0
        (self.proc / "self").mkdir(parents=True)
        group.mkdir(parents=True)
        kind, options, line = ("cgroup2", "rw", "0::/job") if version == 2 else ("cgroup", "rw,memory", "4:memory:/job")
        (self.proc / "self/cgroup").write_text(f"{line}\n" if version else "")
        (self.proc / "self/mountinfo").write_text(f"35 31 0:32 / {group.parent} rw - {kind} {kind} {options}\n")
        limit, used, counter = {
            2: ("memory.max", "memory.current", group / "memory.events"),
            1: ("memory.limit_in_bytes", "memory.usage_in_bytes", group / "memory.oom_control"),
            None: ("memory.max", "memory.current", self.proc / "vmstat"),
        }[version]
        (group / limit).write_text(f"{250 * MB}\n")
        (group / used).write_text(f"{250 * MB}\n")
        self.counter = counter
        self.kill(3)

    def kill(self, total: int) -> None:
        self.counter.write_text(f"under_oom 0\noom_kill {total}\n")


@pytest.mark.parametrize("version", [1, 2, None])
def test_deaths_by_the_oom_killer(tmp_path: Path, version: int | None) -> None:
    """SIGKILL while the count has just risen is the kernel's; while it has not, or by any other end, it is not."""
    kernel = Kernel(tmp_path, version)
    kills = OomKills(kernel.proc, lambda: kernel.now)
    assert not kills.explains(SIGKILL, born_at=0.0)  # those before us are not ours
    kernel.now = 10.0
    kernel.kill(4)
    assert not kills.explains(SIGSEGV, born_at=0.0)
    assert not kills.explains(EXIT_1, born_at=0.0)
    assert kills.explains(SIGKILL, born_at=0.0)
    kernel.now = 11.0
    assert not kills.explains(SIGKILL, born_at=10.5)  # it did not rise in this one's life
    assert kills.explains(SIGKILL, born_at=9.0)  # killed in the same moment, or by somebody else: it is not blamed
    kernel.now = 12.0 + SETTLED_S
    assert not kills.explains(SIGKILL, born_at=0.0)  # long ago
    who = kills.told()
    assert ("limit 262 MB, control group" in who) is (version is not None)
    assert "the kernel's OOM killer" in who


@pytest.mark.parametrize("version", [1, 2, None])
def test_an_oom_kill_beside_the_workers(tmp_path: Path, version: int | None) -> None:
    """One that has hit no worker is seen, once, when a worker's death would be known; a machine's may be anybody's."""
    kernel = Kernel(tmp_path, version)
    kills = OomKills(kernel.proc, lambda: kernel.now)
    kernel.kill(5)
    assert kills.explains(SIGKILL, born_at=0.0)
    assert not kills.strays()  # the other worker may be about to be known
    kernel.now = 2 * SETTLED_S
    assert kills.strays() is (version is not None)
    assert not kills.strays()
    kernel.kill(6)
    assert kills.explains(SIGKILL, born_at=0.0)
    kernel.now = 4 * SETTLED_S
    assert not kills.strays()


def test_one_wild_worker_keeps_nobody_from_starting() -> None:
    """What a worker takes is the median of those that run, not the largest."""
    admission = Admission(0, available=lambda: 1000 * MB)
    admission.look({"wild": 5000 * MB, **{f"s{n}": 20 * MB for n in range(4)}})
    assert admission.refusal(["wild", "s0", "s1", "s2", "s3"]) is None


@pytest.mark.parametrize(("masters", "workers"), [(0, 500), (300, 800), (800, 1000), (-500, 500), (-1000, 500)])
def test_the_score_of_a_worker(masters: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes a worker before its master, and what protects the master does not protect the worker."""
    score = tmp_path / "oom_score_adj"
    score.write_text(f"{masters}\n")
    monkeypatch.setattr(process, "_OOM_SCORE", score)
    process._die_first()
    assert score.read_text() == str(workers)
