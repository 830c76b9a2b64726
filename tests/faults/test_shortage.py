"""Row 34: processes, threads, open files or inodes are used up. Not the task's fault: fewer run, the cause is told."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from harness import Stage, wait_until

from prealloc.worker.messages import NO_THREAD

pytestmark = pytest.mark.fault

ALWAYS = ",".join(f"fork.asked:{number}:EAGAIN" for number in range(1, 60))


def test_a_process_that_is_refused(stage: Stage) -> None:
    """The others go on, its shard is asked for again, and every unit ends ok; told once, with the limits to look at."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.1} for n in range(12)}, shards=4)
    refusals = ",".join(f"fork.asked:{number}:EAGAIN" for number in (2, 3, 5))
    session = stage.start("--workers", "4", "--no-rebalance", faults=refusals)
    assert session.wait() == 0, session.output()
    assert session.census == {"ok": 12}
    assert session.passed("fork.asked") == 7
    (note,) = session.notes()
    assert "starts no further process or thread (Resource temporarily unavailable)" in note
    assert "ulimit -u" in note
    assert not session.of("worker_lost")
    stage.check(session)


def test_no_process_at_all(stage: Stage) -> None:
    """If nobody can work for --start-timeout, the run stops with 3, the reason and the hint; resume goes on."""
    stage.make_plan(4, shards=2)
    session = stage.start("--start-timeout", "6", faults=ALWAYS)
    assert session.wait() == 3
    assert "started no worker for 6 s (--start-timeout): Resource temporarily unavailable" in session.output()
    assert "pids limit" in session.output()
    assert "Traceback" not in session.output()
    stage.check(session)
    stage.finish()


def test_ctrl_c_while_no_process_is_to_be_had(stage: Stage) -> None:
    """It ends at once: there is nothing to drain."""
    stage.make_plan(4, shards=2)
    session = stage.start(faults=ALWAYS)
    wait_until(session.notes, "refusal")
    session.signal(signal.SIGINT)
    assert session.wait() == 130
    assert session.census == {"not_run": 4}
    stage.check(session)


def test_a_command_whose_process_is_refused(stage: Stage) -> None:
    """The same for programs of --command."""
    stage.make_plan(2, shards=2)
    command = "/bin/sh -c 'exit 0' {manifest}"
    words = ("run", str(stage.plan), "--command", command, "--out", str(stage.run))
    session = stage.command(*words, faults="fork.asked:1:EAGAIN,fork.asked:2:EAGAIN")
    assert session.wait() == 1, session.output()
    assert session.passed("fork.asked") == 4
    assert len(session.of("shard_started")) == 2


def test_a_worker_without_a_thread(stage: Stage) -> None:
    """A worker that the system gives no thread has not failed: its units wait, and run."""
    stage.make_plan({"t0": {"do": "ok"}, "t1": {"do": "ok"}}, shards=2)
    words = ("run", str(stage.plan), "--worker", "threadless_import:act", "--out", str(stage.run), "--workers", "2")
    session = stage.command(*words, environment={"REFUSED": str(stage.root / "refused")})
    assert session.wait() == 0, session.output()
    assert session.census == {"ok": 2}
    (note,) = session.notes()
    assert "starts no further process or thread" in note
    assert len(session.of("shard_started")) > 2
    stage.check(session)


def test_a_task_that_exits_with_that_code(stage: Stage) -> None:
    """It is a task that has killed its worker all the same."""
    stage.make_plan({"poison": {"do": "os_exit", "code": NO_THREAD}, "t": {"do": "ok"}})
    session = stage.start()
    assert session.wait() == 1
    assert session.census == {"ok": 1, "crashed": 1}
    stage.check(session)


def test_too_few_open_files(stage: Stage) -> None:
    """No more workers run than the limit of open files allows, and a note says how many files all of them need."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.2} for n in range(24)}, shards=24)
    prlimit = shutil.which("prlimit")
    assert prlimit, "util-linux has it"
    words = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run), "--workers", "24")
    session = stage.command(*words, wrap=[prlimit, f"--nofile={64 + 2 * 3}"])
    assert session.wait() == 0, session.output()
    assert session.census == {"ok": 24}
    (note,) = session.notes()
    assert "24 workers at once need" in note
    assert "`ulimit -n" in note
    assert session.of("run_started")[0]["workers"] < 24
    stage.check(session)


def test_a_fork_server_that_is_killed(stage: Stage) -> None:
    """It is said what has killed it."""
    stage.make_plan({"t": {"do": "gate"}})
    session = stage.start()
    stage.wait_for_start("t")
    with open(f"/proc/{stage.pids('t')[0]}/stat") as file:
        server = int(file.read().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    assert session.wait() == 3
    assert "and its workers with it: killed by SIGKILL" in session.output()
    assert "out of memory?" in session.output()
    stage.check(session)
