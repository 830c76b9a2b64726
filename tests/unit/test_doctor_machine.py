"""The doctor's probes of a machine and of a file system: each is fine here, and sees the fault that is planted."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prealloc.api.doctor import diagnose
from prealloc.doctor import disk, locks, machine, start
from prealloc.doctor.finding import PROBE_S, Finding, Level, bounded, ok
from prealloc.doctor.lanes import check_lanes
from prealloc.doctor.machine import check_clocks, check_proc, judge_proc
from prealloc.doctor.start import check_start
from prealloc.doctor.versions import check_dependencies, check_versions
from prealloc.engines.base import ShardJob
from prealloc.engines.fork_launcher import ForkServerLauncher
from prealloc.engines.handover import Units
from prealloc.engines.spawn_launcher import SpawnLauncher
from prealloc.engines.worker_process import WorkerProcess
from prealloc.errors import InputError
from prealloc.files import lock
from prealloc.files.paths import SharedPaths, runtime_folder
from prealloc.lanes.limiter import RateLimiter
from prealloc.lanes.sharing import shared_lanes
from prealloc.model.lane import Lane
from prealloc.model.outcome import Answer
from prealloc.model.policy import RunPolicy
from prealloc.processes.cgroups import Bound, tightest
from prealloc.processes.parent import fresh_interpreter
from prealloc.testing import make_plan

pytestmark = pytest.mark.fresh  # the doctor looks at how workers start


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {finding.name: finding.level for finding in findings}


def test_everything_is_looked_at_and_nothing_stays(tmp_path: Path) -> None:
    """Whatever passes these tests can start workers and lock; no file, process or thread of a probe is left."""
    before = threading.active_count()
    found = diagnose(folder=tmp_path)
    problems = {finding.name for finding in found.findings if finding.level is Level.PROBLEM}
    assert problems <= {"open files", "processes", "space"}, found  # that is for who runs the tests to fix
    assert found.exit_code == bool(problems)
    names = {finding.name for finding in found.findings}
    assert names >= {"python", "prealloc", "dependencies", "start method", "subreaper", "death signal", "memfd"}
    assert names >= {"open files", "processes", "memory", "swap", "monotonic clock", "wall clock", "/proc"}
    assert names >= {"leftovers", "file system", "space", "lock", "rename", "exchange", "hard links", "append"}
    assert list(tmp_path.iterdir()) == []
    assert not [pid for pid, text in commands().items() if "prealloc.doctor" in text or "forkserver" in text]
    assert threading.active_count() <= before


def commands() -> dict[int, str]:
    """Children of this process."""
    found = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
    return found


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """Nothing is probed, and nothing is made."""
    with pytest.raises(InputError, match="no such folder"):
        diagnose(folder=tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


# -- bounds -------------------------------------------------------------------------------------------------


def test_a_probe_that_hangs_is_a_problem() -> None:
    """A file system that gives no answer does not hang the doctor."""
    forever = threading.Event()
    began = time.monotonic()
    (found,) = bounded("disk", lambda: [ok("disk", str(forever.wait()))], timeout_s=0.05)
    forever.set()
    assert (found.level, found.seen) == (Level.PROBLEM, "no answer within 0.05 s")
    assert time.monotonic() - began < PROBE_S


def test_what_the_system_refuses_is_a_problem_and_a_bug_is_raised() -> None:
    """OSError is a finding with its place; anything else is our own mistake and no finding."""

    def refused() -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/scratch")

    def wrong() -> list[Finding]:
        raise KeyError("a bug")

    (found,) = bounded("disk", refused)
    assert (found.level, found.where) == (Level.PROBLEM, "/scratch")
    with pytest.raises(KeyError):
        bounded("disk", wrong)


# -- versions -----------------------------------------------------------------------------------------------


def test_dependencies_against_what_is_asked_for() -> None:
    """One that is older, or not there, is a problem with the pip line; numbers are compared as numbers."""

    def version_of(name: str) -> str:
        if name == "gone":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"old": "0.9.1", "new": "0.19"}[name]

    (found,) = check_dependencies([("new", "0.9")], version_of)
    assert found == ok("dependencies", "new 0.19")
    old, gone = check_dependencies([("old", "0.10"), ("gone", "1.0")], version_of)
    assert (old.level, old.hint) == (Level.PROBLEM, "pip install --upgrade 'old>=0.10'")
    assert (gone.level, gone.hint) == (Level.PROBLEM, "pip install 'gone>=1.0'")


def test_another_platform_is_told() -> None:
    """Only Linux is promised."""
    assert levels(check_versions("darwin"))["platform"] is Level.WARNING
    assert "platform" not in levels(check_versions("linux"))


# -- the start of workers -----------------------------------------------------------------------------------


class Broken(ForkServerLauncher):
    """A fork server on a kernel that refuses one call: the number of the call is made one that there is not."""

    broken = ""

    def __init__(self) -> None:
        real = subprocess.Popen

        def start_broken(command: list[str], **options: object) -> subprocess.Popen[bytes]:
            return real([*command[:-1], f"{self.broken}\n{command[-1]}"], **options)  # type: ignore[call-overload,no-any-return]

        subprocess.Popen = start_broken  # type: ignore[assignment,misc]
        try:
            super().__init__()
        finally:
            subprocess.Popen = real  # type: ignore[misc]


PATH = f"import sys; sys.path[:] = {sys.path!r}\n"


class NoSubreaper(Broken):
    broken = PATH + "import prealloc.processes.parent as m; m._PR_SET_CHILD_SUBREAPER = 9999"


class NoDeathSignal(Broken):
    broken = PATH + "import prealloc.processes.parent as m; m._PR_SET_PDEATHSIG = 9999"


class DiesAtOnce(Broken):
    broken = "import os; os._exit(7)"


def test_a_kernel_without_a_subreaper(tmp_path: Path) -> None:
    """An orphan of a task that comes to somebody else is a problem."""
    found = levels(check_start(tmp_path, NoSubreaper))
    assert found == {
        "memfd": Level.OK,
        "start method": Level.OK,
        "subreaper": Level.PROBLEM,
        "death signal": Level.OK,
    }


def test_a_kernel_without_a_death_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that outlives its fork server is a problem, and is not left behind."""
    monkeypatch.setattr(start, "DEATH_S", 0.3)
    found = levels(check_start(tmp_path, NoDeathSignal))
    assert (found["subreaper"], found["death signal"]) == (Level.OK, Level.PROBLEM)
    log = str(tmp_path / "log")
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and log in open_files(pid)]


def open_files(pid: str) -> list[str]:
    try:
        return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def test_a_fork_server_that_dies(tmp_path: Path) -> None:
    """No start method: what prealloc says of it is the finding."""
    found = levels(check_start(tmp_path, DiesAtOnce))
    assert found == {"memfd": Level.OK, "start method": Level.PROBLEM}


def test_a_worker_that_cannot_run(tmp_path: Path) -> None:
    """A worker that ends without its result is a problem, and is told with its status."""
    tmp_path.joinpath("probe.0001.0001.jsonl").touch()  # the journal's writer refuses a file that is there
    (_, found) = check_start(tmp_path)
    assert found.level is Level.PROBLEM
    assert "has no result" in found.seen


def test_spawned_workers(tmp_path: Path) -> None:
    """Where there is no fork server a spawned worker runs the same task."""
    found = check_start(tmp_path, SpawnLauncher)
    assert levels(found) == {"memfd": Level.OK, "start method": Level.OK}
    assert found[1].seen.startswith("spawn")


def test_no_memfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without one is told what stands in; one that refuses it has a problem."""
    monkeypatch.setattr(os, "memfd_create", refuse)
    assert start._check_memfd().level is Level.PROBLEM
    monkeypatch.delattr(os, "memfd_create")
    assert start._check_memfd().level is Level.WARNING


def refuse(*arguments: object, **keywords: object) -> None:
    raise PermissionError(1, "Operation not permitted")


# -- limits -------------------------------------------------------------------------------------------------


def test_open_files_are_counted_as_the_engine_opens_them() -> None:
    """DESCRIPTORS and DESCRIPTORS_TO_START are what a worker really costs its master."""
    before = len(os.listdir("/proc/self/fd"))
    (shard,) = make_plan(1).shards
    worker = WorkerProcess(ShardJob(number=1, manifest=shard.manifest, policy=RunPolicy(), ids=[], units=Units()))
    at_most = len(os.listdir("/proc/self/fd")) - before + 2  # beside these the log and the job
    worker.far_end.close()
    os.close(worker.table_descriptor)
    stays = len(os.listdir("/proc/self/fd")) - before
    worker.close()
    assert stays == machine.DESCRIPTORS
    assert at_most - stays == machine.DESCRIPTORS_TO_START
    assert len(os.listdir("/proc/self/fd")) == before


def test_few_open_files() -> None:
    """Told: how many workers they bear, how to raise the limit, or what to run with."""
    assert machine.check_open_files(None, None).level is Level.OK
    assert machine.check_open_files(machine.descriptors_needed(64), 10_000).level is Level.OK
    few = machine.check_open_files(machine.descriptors_needed(10) + 3, 10_000)
    assert few.level is Level.PROBLEM
    assert few.hint == "ulimit -n 4096; or run with ‹workers› 10"
    none = machine.check_open_files(10, 10)
    assert none.hint == "raise the hard limit (ulimit -Hn)"


def test_few_processes() -> None:
    """The tightest of the limits counts, and is named."""
    need = machine.processes_needed(64)
    assert machine.check_processes({}).level is Level.OK
    assert machine.check_processes({"a": need, "b": 10 * need}).level is Level.OK
    few = machine.check_processes({"wide": need, "pids.max": machine.processes_needed(5)})
    assert (few.level, few.hint) == (Level.WARNING, "raise pids.max, or run with ‹workers› 5")
    assert machine.check_processes({"pids.max": -4}).level is Level.PROBLEM


# -- control groups and memory ------------------------------------------------------------------------------


def processes(root: Path, groups: str, *mounts: str) -> Path:
    """A /proc in which this process is in these groups; a mount is `root mount-point type options`."""
    lines = ["22 1 8:1 / / rw - ext4 /dev/sda rw\n"]
    for top, point, kind, options in map(str.split, mounts):
        lines.append(f"30 23 0:28 {top} {point} rw shared:9 - {kind} {kind} {options}\n")
    group(root / "proc/self", {"cgroup": groups, "mountinfo": "".join(lines)})
    return root / "proc"


def group(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_control_groups_version_2(tmp_path: Path) -> None:
    """The group that leaves least counts, be it above our own; file pages that can be dropped are free."""
    mounts = tmp_path / "mounts"
    proc = processes(tmp_path, "0::/job/step\n", f"/ {mounts} cgroup2 rw")
    group(
        mounts,
        {
            "job/step/memory.max": "max\n",
            "job/step/memory.current": "5\n",
            "job/memory.max": "1000\n",
            "job/memory.current": "900\n",
            "job/memory.stat": "anon 5\ninactive_file 300\n",
            "job/step/pids.max": "50\n",
            "job/step/pids.current": "20\n",
            "job/pids.max": "100\n",
            "job/pids.current": "95\n",
        },
    )
    assert tightest("memory", proc) == Bound(1000, 400, str(mounts / "job"))
    assert tightest("pids", proc) == Bound(100, 5, str(mounts / "job"))


def test_control_groups_version_1(tmp_path: Path) -> None:
    """A tree for each controller; a number near 2**63 is no limit; a path of the host's means the mount's root."""
    mounts = tmp_path / "mounts"
    proc = processes(
        tmp_path,
        "9:name=systemd:/\n5:pids:/docker/0af\n4:memory,hugetlb:/job\n0::/\n",
        f"/ {mounts}/memory cgroup rw,memory,hugetlb",
        f"/ {mounts}/pids cgroup rw,pids",
        f"/ {mounts}/unified cgroup2 rw",
    )
    group(
        mounts,
        {
            "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
            "memory/memory.usage_in_bytes": "7\n",
            "memory/job/memory.limit_in_bytes": "1000\n",
            "memory/job/memory.usage_in_bytes": "100\n",
            "pids/pids.max": "9\n",
            "pids/pids.current": "10\n",
        },
    )
    assert tightest("memory", proc) == Bound(1000, 900, str(mounts / "memory/job"))
    assert tightest("pids", proc) == Bound(9, 0, str(mounts / "pids"))
    assert tightest("memory", tmp_path / "no such folder") is None


@pytest.mark.parametrize(
    ("path", "folder"),
    [("/docker/0af", "."), ("/docker/0af/step", "step"), ("/../other", "."), ("/kubepods/1", ".")],
)
def test_a_control_group_in_a_container(tmp_path: Path, path: str, folder: str) -> None:
    """What is mounted may begin below the root: a path goes on from there; one that is not below it means its top."""
    mounts = tmp_path / "mounts"
    proc = processes(tmp_path, f"0::{path}\n", f"/docker/0af {mounts} cgroup2 rw")
    for where, limit in ((".", 500), ("step", 400)):
        group(mounts / where, {"memory.max": f"{limit}\n", "memory.current": "0\n"})
    found = tightest("memory", proc)
    assert found is not None
    assert Path(found.folder) == mounts / folder


def test_a_control_group_below_the_machine() -> None:
    """A group that leaves less than the machine is what counts; too little for a few workers is a warning."""
    gb = 10**9
    low = machine.check_free(64 * gb, 60 * gb, Bound(gb, gb // 20, "/sys/fs/cgroup/job"))
    assert low.level is Level.WARNING
    assert "/sys/fs/cgroup/job" in low.seen
    assert machine.check_free(64 * gb, 60 * gb, Bound(32 * gb, 30 * gb, "g")).level is Level.OK
    assert machine.check_free(64 * gb, 60 * gb, None).level is Level.OK
    assert machine.check_free(64 * gb, gb // 20, None).level is Level.WARNING


def test_swap() -> None:
    """Nearly full is a warning; none is fine."""
    assert machine.check_swap(0, 0).level is Level.OK
    assert machine.check_swap(100, 50).level is Level.OK
    assert machine.check_swap(100, 90).level is Level.WARNING


# -- clocks, /proc ------------------------------------------------------------------------------------------


def ticking(step_s: float) -> Callable[[], float]:
    count = itertools.count()
    return lambda: next(count) * step_s


def test_clocks() -> None:
    """A coarse monotonic clock and a wall clock that is being set are warnings; one that stands still ends too."""
    slow = levels(check_clocks(ticking(0.02), ticking(0.02), lambda s: None))
    assert slow["monotonic clock"] is Level.WARNING
    assert levels(check_clocks(lambda: 5.0, lambda: 5.0, lambda s: None))["monotonic clock"] is Level.WARNING
    stepped = levels(check_clocks(time.monotonic, ticking(3600.0), lambda s: None))
    assert stepped == {"monotonic clock": Level.OK, "wall clock": Level.WARNING}


def test_proc() -> None:
    """What cannot be read is told with what it costs; without the tree nothing can be killed whole."""
    assert levels(check_proc()) == {"/proc": Level.OK}
    assert levels(judge_proc(tree=False, memory=True, environment=True, children=True)) == {"/proc": Level.PROBLEM}
    lame = judge_proc(tree=True, memory=False, environment=False, children=False)
    assert [finding.level for finding in lame] == [Level.WARNING] * 2
    assert judge_proc(tree=True, memory=True, environment=True, children=False)[0].level is Level.OK


# -- the file system ----------------------------------------------------------------------------------------


def test_a_lock_that_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems say yes to everybody: seen with two real processes."""
    monkeypatch.setattr(lock, "_take", lambda descriptor: True)
    found = locks.check_lock(tmp_path)
    assert (found.level, found.seen) == (Level.PROBLEM, "two processes hold the same lock at once")


def test_a_lock_that_nobody_gets(tmp_path: Path) -> None:
    """A file system that refuses locks is told in its own words."""
    (tmp_path / "lock").mkdir()
    found = locks.check_lock(tmp_path)
    assert found.level is Level.PROBLEM
    assert "not a file but a folder" in found.seen


def test_a_lock_that_outlives_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a dead master's run could never be resumed."""
    monkeypatch.setattr(locks, "_taken", lambda path: False)
    assert locks.check_lock(tmp_path).seen == "it stays when its owner is killed"


def test_the_other_process_ends_by_itself(tmp_path: Path) -> None:
    """When the doctor is gone its pipe closes, and the holder of the lock goes."""
    code = f"from prealloc.doctor.locks import hold; hold({str(tmp_path / 'lock')!r})"
    holder = subprocess.Popen(fresh_interpreter(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = holder.communicate(timeout=20)
    assert out == b"held\n"
    assert holder.returncode == 0


def test_space_and_type_of_a_file_system() -> None:
    """Little space warns, none is a problem; a network's type is named with its mount."""
    sizes = (10**8, 10**7, 10**11)
    assert [disk.judge_space(n, "", "/").level for n in sizes] == [Level.WARNING, Level.PROBLEM, Level.OK]
    assert disk.judge_file_system("ext4", "/").level is Level.OK
    network = disk.judge_file_system("nfs4", "/home")
    assert (network.level, network.where) == (Level.WARNING, "/home")


def test_no_exchange_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without renameat2 two folders are still exchanged, in steps: a warning."""
    monkeypatch.setattr("prealloc.files.atomic.exchange_in_one_step", lambda one, other: False)
    monkeypatch.setattr(disk, "exchange_in_one_step", lambda one, other: False)
    assert levels(disk.check_rename(tmp_path)) == {"rename": Level.OK, "exchange": Level.WARNING}


def test_an_exchange_that_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says yes and does not is seen from the folders."""
    monkeypatch.setattr(disk, "exchange_in_one_step", lambda one, other: True)
    assert levels(disk.check_rename(tmp_path))["exchange"] is Level.PROBLEM


def test_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is made then: a warning."""
    monkeypatch.setattr(os, "link", refuse)
    assert disk.check_links(tmp_path).level is Level.WARNING


def test_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow flush warns; what was appended and is not there is a problem."""
    assert disk.judge_append(0.01, 0.5, 3.0).level is Level.OK
    assert disk.judge_append(0.01, 80.0, 300.0).level is Level.WARNING
    assert disk.check_append(tmp_path).level is Level.OK
    (tmp_path / "journal.jsonl").unlink()
    monkeypatch.setattr(os, "write", lambda descriptor, data: len(data))
    assert disk.check_append(tmp_path).level is Level.PROBLEM


def test_shared_lanes_are_tried_and_counted() -> None:
    """What a run would meet is a warning, since it goes on alone; else the runs that share lanes now are counted."""
    lane, clock = Lane(name="k", queries_per_second=5), time.monotonic
    runs = [RateLimiter[str]([lane], RunPolicy(), now=clock, share=shared_lanes([lane], {})) for _ in range(2)]
    for each in runs:
        each.grants()
    runs[0].done("k", "a", 1, 0, Answer(http_status=429, retry_after_s=41.0))
    runs[0].grants()
    (fine,) = check_lanes()
    assert fine.level is Level.OK
    assert "in use now: lanes 1, runs 2; a server has asked for a pause of 41 s more" in fine.seen
    assert not SharedPaths(runtime_folder()).lane("doctor").exists()
    for each in runs:
        each.close()
    runtime_folder().chmod(0o755)
    (trap,) = check_lanes()
    assert trap.level is Level.WARNING
    assert "other users may enter it" in trap.seen
