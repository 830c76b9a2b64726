"""Rows 10 to 13 and 16: the master dies, is asked to stop, or is not alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness import HERE, PACKAGE_ROOT, PATIENCE_S, Session, Stage, wait_until

import prealloc
from examples import in_laws
from prealloc.processes.tree import parent_of

pytestmark = pytest.mark.fault

BUSY = {"do": "ok", "s": 0.1}
PLIGHTS: dict[str, dict[str, Any]] = {
    "busy": {"do": "ok", "s": 0.05},
    "waiting": {"do": "gate"},
    "looping": {"do": "loop"},
    "hung in C": {"do": "gil_blocked"},
    "spinning in C": {"do": "gil_spinning"},
    "with setsid children": {"do": "family"},
    "with setsid children, hung in C": {"do": "family", "then": "gil_blocked"},
}

WORST = ("busy", "spinning in C", "with setsid children, hung in C")


@pytest.mark.parametrize(
    ("plight", "concurrency"),
    [*((each, 4) if each in WORST else in_laws(each, 4) for each in PLIGHTS), ("hung in C", 1), in_laws("busy", 1)],
)
def test_sigkill_of_the_master(stage: Stage, plight: str, concurrency: int) -> None:
    """Rows 10 and 11: nothing alive after 2 s; resume completes, and nothing acknowledged is lost or run again."""
    harm = PLIGHTS[plight]
    stage.make_plan({"harm": harm, **{f"t{n}": {"do": "ok", "s": 0.02} for n in range(9)}}, shards=2)
    first = stage.start("-c", str(concurrency), "--timeout", "30")
    stage.wait_for_start("harm")
    first.wait_for("attempt_ended")
    first.kill()
    stage.check(first)  # asserts that nobody is alive after 2 s
    told = {(e["task"], e["attempt"]) for e in first.of("attempt_ended")}
    starts = {task: stage.attempts(task) for task, _ in told}

    # A poison is not what this is about: after the kill it does no more harm.
    second = resume_with(stage, concurrency)
    assert second.wait() == (0 if plight in ("busy", "waiting") else 1)
    assert {status: n for status, n in second.census.items() if status != "timeout"} == {
        "ok": 10 if plight in ("busy", "waiting") else 9
    }
    for task, count in starts.items():
        assert stage.attempts(task) == count, f"{task} was acknowledged and ran again"
    stage.check(second)


def resume_with(stage: Stage, concurrency: int) -> Session:
    """Resumes with gates open, and a shorter --timeout: run.json is no part of the journal."""
    stage.let_go()
    path = stage.run / "run.json"
    path.write_text(path.read_text().replace('"timeout_s": 30.0', '"timeout_s": 1.0'))
    return stage.resume()


def test_sigkill_of_the_master_between_tasks(stage: Stage) -> None:
    """Row 10, idle: shards that have no task to run at the moment die with the master too."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)}, shards=4)
    first = stage.start("--workers", "4")
    first.wait_for("shard_started", 4)
    first.kill()
    stage.check(first)
    stage.let_go()
    stage.finish()


def test_sigkill_of_the_master_while_a_module_is_imported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 10 before anything runs: an import that hangs does not keep its process alive."""
    stage.make_plan(2)
    (stage.root / "hangs_on_import.py").write_text("import time\ntime.sleep(1000)\ndef act(task, ctx): ...\n")
    monkeypatch.setenv("PYTHONPATH", str(stage.root))
    session = stage.start(worker="hangs_on_import:act")
    wait_until(lambda: len(stage.alive()) >= 2, "fork server")
    time.sleep(1.0)
    session.process.kill()
    session.process.wait()
    wait_until(lambda: not stage.alive(), "end of all processes", timeout_s=2.0)


@pytest.mark.parametrize("concurrency", [1, in_laws(4)])
def test_sigkill_again_and_again(stage: Stage, concurrency: int) -> None:
    """Rows 11 and 12: the master is killed at random moments, resumes too; nothing acknowledged is ever lost.

    The last resume completes; a unit starts at most once more for every kill that met it in row.
    """
    stage.make_plan({f"t{n:02}": {"do": "ok", "s": 0.06 * concurrency} for n in range(60)}, shards=3)
    session = stage.start("-c", str(concurrency), "--workers", "3")
    kills = 0
    told: set[str] = set()
    for pause_s in (0.05, 0.2, 0.35, 0.1, 0.0):
        session.wait_for("run_started")
        time.sleep(pause_s)
        if session.process.poll() is not None:
            break
        session.kill()
        kills += 1
        stage.check(session)
        told |= {e["task"] for e in session.of("attempt_ended")}
        session = stage.resume()
        session.wait_for("run_started")
        before = {task: stage.attempts(task) for task in told}
        assert all(stage.attempts(task) == count for task, count in before.items())
    assert session.wait() == 0
    assert kills >= 3
    assert session.census == {"ok": 60}
    starts = sum(stage.attempts(f"t{n:02}") for n in range(60))
    assert starts <= 60 + kills * 3 * concurrency
    stage.check(session)


def test_ctrl_c_once_drains(stage: Stage) -> None:
    """Row 13: running tasks end, nothing further starts, 130, and how to resume is said."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.5} for n in range(12)}, shards=2)
    session = stage.start("--drain", "20")
    stage_is_busy(session)
    session.signal(signal.SIGINT)
    assert session.wait() == 130
    running = {(e["task"]) for e in session.of("attempt_started")}
    assert {e["task"] for e in session.of("attempt_ended", status="ok")} == running
    assert set(session.census) == {"ok", "not_run"}
    assert session.of("run_ended")[0]["resume"] == f"prealloc resume {stage.run}"
    assert session.of("stopping")
    stage.check(session)
    second = stage.resume()
    assert second.wait() == 0
    assert all(stage.attempts(f"t{n}") == 1 for n in range(12))
    stage.check(second)


def test_the_drain_time_ends(stage: Stage) -> None:
    """Row 13: what has not ended within the drain is `cancelled`; resume runs it again."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)}, shards=2)
    session = stage.start("--drain", "0.5")
    stage_is_busy(session)
    asked_at = time.monotonic()
    session.signal(signal.SIGINT)
    assert session.wait() == 130
    assert time.monotonic() - asked_at < 0.5 + 5
    assert session.census == {"cancelled": 2, "not_run": 2}
    stage.check(session)
    stage.let_go()
    stage.finish()


@pytest.mark.parametrize("how", ["gate", "gil_blocked", "family"])
def test_ctrl_c_twice_stops_at_once(stage: Stage, how: str) -> None:
    """Row 13: the second Ctrl-C waits for nobody, hung tasks and their children included."""
    stage.make_plan({f"t{n}": {"do": how} for n in range(4)}, shards=2)
    session = stage.start("--drain", "30")
    # Not by attempt_started: what holds the interpreter from its first moment cannot be announced.
    wait_until(lambda: sum(stage.attempts(f"t{n}") for n in range(4)) == 2, "two starts")
    session.signal(signal.SIGINT)
    session.wait_for("stopping")
    asked_at = time.monotonic()
    session.signal(signal.SIGINT)
    assert session.wait() == 130
    assert time.monotonic() - asked_at < 5
    assert session.census == {"cancelled": 2, "not_run": 2}
    assert not session.of("worker_lost")  # stopped, as asked for
    stage.check(session)


@pytest.mark.parametrize("number", [signal.SIGTERM, in_laws(signal.SIGHUP)])
def test_other_signals_drain_too(stage: Stage, number: signal.Signals) -> None:
    """Row 13: SIGTERM and SIGHUP drain like Ctrl-C, with exit code 128 + signal."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.3} for n in range(8)})
    session = stage.start()
    stage_is_busy(session)
    session.signal(number)
    assert session.wait() == 128 + number
    assert set(session.census) == {"ok", "not_run"}
    stage.check(session)


def test_a_signal_that_is_ignored(stage: Stage) -> None:
    """Row 32: who says `nohup`, or starts a job in the background of a script, means it: the run goes on."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)})
    ignoring = ["/bin/sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh"]
    words = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run), "--drain", "0")
    session = stage.command(*words, wrap=ignoring)
    stage_is_busy(session)
    session.signal(signal.SIGHUP)
    session.signal(signal.SIGINT)
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 4}
    stage.check(session)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_every_process(stage: Stage, number: signal.Signals) -> None:
    """Row 32: `systemctl stop`, `scancel`, `kill 0` signal workers and fork server too. It drains: 128 + the signal."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(8)}, shards=2)
    session = stage.start("--drain", "20")
    stage_is_busy(session)
    # The master last: the others must have been met while nobody has told them anything.
    for pid in sorted(stage.alive(), key=lambda pid: pid == session.process.pid):
        os.kill(pid, number)
    session.wait_for("stopping")
    stage.let_go()
    assert session.wait() == 128 + number, session.output()
    assert session.census == {"ok": 2, "not_run": 6}
    assert not session.of("worker_lost")
    stage.check(session)


def test_what_tasks_start_heeds_signals(stage: Stage) -> None:
    """Workers are deaf to SIGTERM, SIGINT and SIGHUP; the programs that they start, and what they fork, are not."""
    stage.make_plan({"t": {"do": "dispositions"}})
    session = stage.start()
    assert session.wait() == 0, session.output()
    (outcome,) = prealloc.outcomes(stage.run)
    result = outcome.read().result
    assert result["child"] == -signal.SIGTERM
    for status in result["programs"]:
        assert_no_signal_is_deaf(status)


def test_what_a_command_heeds(stage: Stage) -> None:
    """A program of --command begins with every signal as the system has them; Python's own SIGPIPE too."""
    stage.make_plan(1)
    seen = stage.root / "status"
    command = f"/bin/sh -c 'cat /proc/self/status > {seen}' {{manifest}}"
    session = stage.command("run", str(stage.plan), "--command", command, "--out", str(stage.run))
    assert session.wait() == 1
    status = seen.read_text()
    assert_no_signal_is_deaf(status)
    assert not int(dict(line.split(":\t") for line in status.splitlines())["SigIgn"], 16) & 1 << signal.SIGPIPE - 1


def assert_no_signal_is_deaf(status: str) -> None:
    """By /proc/PID/status: none of those that ask to end is ignored or blocked."""
    masks = dict(line.split(":\t") for line in status.splitlines())
    asking = sum(1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
    assert int(masks["SigIgn"], 16) & asking == 0
    assert int(masks["SigBlk"], 16) & asking == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_in_a_loop_over_runs(stage: Stage, number: signal.Signals, code: int) -> None:
    """Row 32: it stops the caller's loop as well, after the drain: as KeyboardInterrupt, or as SystemExit."""
    # The task runs on for a moment: a worker on a busy machine hears of the drain before it could begin another.
    stage.make_plan({f"t{n}": {"do": "gate", "s": 0.5} for n in range(4)})
    program = start_program(stage, "loop")
    wait_until(lambda: any(stage.attempts(f"t{n}") for n in range(4)), "start")
    program.send_signal(number)
    wait_until((stage.root / "stopping").exists, "drain")
    stage.let_go()
    assert program.wait(PATIENCE_S) == code
    assert "ended with" not in (stage.root / "output").read_text(), "it came to the line after the run"
    assert sorted(path.name for path in stage.root.glob("run?")) == ["run0"]
    census = prealloc.status(stage.root / "run0").census
    assert {status: count for status, count in census.items() if count} == {"ok": 1, "not_run": 3}


def test_sigkill_of_a_master_that_has_forked(stage: Stage) -> None:
    """Row 32: a child of the caller's own, forked after the run began, keeps nothing of the run alive, nor its lock."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)})
    program = start_program(stage, "fork")
    wait_until(lambda: any(stage.attempts(f"t{n}") for n in range(4)), "start")
    wait_until((stage.root / "child").exists, "the fork")
    child = int((stage.root / "child").read_text())
    program.kill()
    program.wait(PATIENCE_S)
    wait_until(lambda: set(stage.alive()) == {child}, "end of all but the child", timeout_s=2.0)
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 0, second.output()
    os.kill(child, signal.SIGKILL)


def test_what_the_caller_forks_heeds_signals(stage: Stage) -> None:
    """While a run goes on its signals are the run's; a child that the caller forks meanwhile ends by SIGTERM."""
    stage.make_plan(1)
    (stage.root / "terminate").touch()
    program = start_program(stage, "fork")
    assert program.wait(PATIENCE_S) == 0
    assert (stage.root / "terminated").exists()


def start_program(stage: Stage, what: str) -> subprocess.Popen[bytes]:
    """A user's program that runs the plan by the API."""
    name, _, value = stage.marker.partition("=")
    with (stage.root / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(HERE / "api_program.py"), what, str(stage.plan), str(stage.root)],
            cwd=HERE,
            env={**os.environ, name: value, "PYTHONPATH": str(PACKAGE_ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_task(stage: Stage, number: signal.Signals) -> None:
    """Row 13: at any moment of the start. No traceback, no process left, and the folder is whole or not there."""
    stage.make_plan(4)
    for pause_s in (0.1, 0.25, 0.4, 0.5, 0.6):
        out = stage.root / f"run{pause_s}"
        session = stage.start("--drain", "1", out=out)
        time.sleep(pause_s)
        session.signal(number)
        code = session.wait()
        assert code in (0, 128 + number), session.output()
        # SIGINT may meet the interpreter while it starts, before a line of prealloc: its traceback is Python's.
        assert "Traceback" not in session.output() or not session.of("run_started")
        wait_until(lambda: not stage.alive(), "end of all processes", timeout_s=2.0)
        assert not out.exists() or (out / "run.json").exists()


def test_two_masters_on_one_run_folder(stage: Stage) -> None:
    """Row 16: the second refuses with 2, naming the owner, and changes nothing; the first goes on."""
    stage.make_plan({f"t{n}": {"do": "gate"} for n in range(4)}, shards=2)
    first = stage.start()
    stage_is_busy(first)
    before = sorted(path.name for path in (stage.run / "journal").iterdir())
    second = stage.resume()
    assert second.wait() == 2
    assert str(first.process.pid) in second.output()
    third = stage.start()  # `run` on a folder that holds a run
    assert third.wait() == 2
    assert "prealloc resume" in third.output()
    assert sorted(path.name for path in (stage.run / "journal").iterdir()) == before
    stage.let_go()
    assert first.wait() == 0
    stage.check(first)


def test_many_masters_at_the_same_moment(stage: Stage) -> None:
    """Row 16: of runs that begin at once in one place one wins, the others refuse with 2 and no traceback."""
    stage.make_plan({"t": {"do": "gate"}, "u": {"do": "ok"}})
    sessions = [stage.start() for _ in range(5)]
    wait_until(lambda: sum(s.process.poll() is None for s in sessions) == 1, "winner")
    stage.let_go()
    codes = sorted(session.wait() for session in sessions)
    assert codes == [0, 2, 2, 2, 2]
    assert not any("Traceback" in session.output() for session in sessions)


def test_many_resumes_at_the_same_moment(stage: Stage) -> None:
    """Row 16: the same for resumes. Each unit runs once."""
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.2} for n in range(6)})
    first = stage.start()
    stage_is_busy(first)
    first.kill()
    time.sleep(1)
    ended = len({e["task"] for e in first.of("attempt_ended")})
    sessions = [stage.resume() for _ in range(4)]
    codes = [session.wait() for session in sessions]
    assert codes.count(0) >= 1  # one that came when all was done found nothing to do
    assert set(codes) <= {0, 2}
    assert sum(stage.attempts(f"t{n}") for n in range(6)) <= 6 + 1
    assert ended <= 6


def test_the_lock_of_a_dead_owner(stage: Stage) -> None:
    """Row 16: a lock file that names a dead process, or holds rubbish, is taken over."""
    stage.make_plan({"t": {"do": "gate"}})
    first = stage.start()
    stage_is_busy(first)
    first.kill()
    assert str(first.process.pid) in (stage.run / "lock").read_text()
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 0
    (stage.run / "lock").write_bytes(b"\0\xff{")
    third = stage.resume()
    assert third.wait() == 0
    stage.check(second)


def test_status_from_another_terminal(stage: Stage) -> None:
    """Status works beside a run that goes on, does not disturb it, and tells who runs it."""
    stage.make_plan({f"t{n}": {"do": "gate" if n else "ok"} for n in range(4)}, shards=4)
    first = stage.start()
    first.wait_for("attempt_ended")
    shown = stage.command("status", str(stage.run))
    assert shown.wait() == 1
    assert f'"master":{first.process.pid}' in shown.output()
    assert '"ok":1' in shown.output()
    stage.let_go()
    assert first.wait() == 0
    stage.check(first)


def test_a_run_folder_without_its_lock_or_logs(stage: Stage) -> None:
    """A resume needs run.json, the plan and the journal: what else is gone it makes anew."""
    stage.make_plan({"t": {"do": "gate"}, "u": {"do": "ok"}})
    first = stage.start("-c", "2")
    first.wait_for("attempt_ended")
    first.kill()
    (stage.run / "lock").unlink()
    shutil.rmtree(stage.run / "logs")
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 0, second.output()
    stage.check(second)


def stage_is_busy(session: Session) -> None:
    """Until every shard has a task that runs."""
    shards = len(session.wait_for("run_started")["shards"])
    session.wait_for("attempt_started", shards)


def test_threads_of_the_test_end(stage: Stage) -> None:
    """The harness itself leaves nothing behind."""
    before = threading.active_count()
    stage.make_plan(1)
    session = stage.start()
    assert session.wait() == 0
    stage.clean_up()
    assert stage.alive() == {}
    assert threading.active_count() <= before
    assert Path(session.acknowledged).exists()


def test_sigkill_of_the_fork_server(stage: Stage) -> None:
    """I4: what tasks had started dies with it, though it ignores signals and is nobody's child; resume goes on."""
    stage.make_plan({"t0": {"do": "family"}, "t1": {"do": "ok"}}, shards=1)
    session = stage.start()
    wait_until((stage.signals / "family").exists, "the family")
    worker = session.wait_for("shard_started")["pid"]
    os.kill(parent_of(worker) or 0, signal.SIGKILL)
    assert session.wait() == 3, session.output()
    stage.check(session)
    assert not stage.alive()
