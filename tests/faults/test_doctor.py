"""`prealloc doctor`: real runs, really damaged and left behind; repaired, resumed, and held to the invariants."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Session, Stage, wait_until, worker_file

from prealloc.api.doctor import repair
from prealloc.api.status import status
from prealloc.doctor.finding import Level
from prealloc.doctor.run_checks import check_run
from prealloc.files.paths import RunPaths
from prealloc.store.journal_lines import WorkerStarted
from prealloc.store.journal_writer import JournalWriter

pytestmark = pytest.mark.fault

GOOD_LINE = b'{"shard":"shard-00","task":"t0","repeat":0,"attempt":9,"status":"ok","started_at":1.0,"queued_s":0.0,"waiting_s":0.0,"working_s":0.1,"peak_rss":1}'  # noqa: E501


@pytest.fixture(scope="module")
def finished_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(tmp_path_factory.mktemp("finished"))
    stage.make_plan({f"t{n}": {"do": "ok"} for n in range(6)}, shards=2)
    assert stage.start().wait() == 0
    stage.clean_up()
    return stage


@pytest.fixture
def finished(finished_stage: Stage, stage: Stage) -> Stage:
    """A stage with a finished run of two shards with three units each."""
    shutil.copytree(finished_stage.run, stage.run)
    return stage


def with_line(number: int, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        lines = path.read_bytes().split(b"\n")
        lines[number - 1] = change(lines[number - 1])
        path.write_bytes(b"\n".join(lines))

    return damage


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def foreign(name: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / name).write_bytes(b"\0\xffhello\n") and None


def folder_and_link(path: Path) -> None:
    (path.parent / "backup").mkdir()
    (path.parent / "backup" / path.name).write_bytes(path.read_bytes())
    (path.parent / "shard-00.0009.0001.jsonl").symlink_to("nowhere")


# Each with whether readers refuse the journal before the repair, and the units that the damage undoes.
DAMAGE: dict[str, tuple[Callable[[Path], None], bool, int]] = {
    "one byte cut off": (with_bytes(lambda raw: raw[:-1]), False, 1),
    "cut in the last line": (with_bytes(lambda raw: raw[:-40]), False, 1),
    "cut at a line": (with_bytes(lambda raw: raw[: raw.rindex(b"\n", 0, -1) + 1]), False, 1),
    "zeros at the end": (with_bytes(lambda raw: raw[:-40] + b"\0" * 4096), False, 1),
    "zeros after the last line": (with_bytes(lambda raw: raw + b"\0" * 100), False, 0),
    "zeros in the middle": (with_line(2, lambda line: b"\0" * len(line)), True, 1),
    "garbage in the middle": (with_line(2, lambda line: os.urandom(300).replace(b"\n", b"n")), True, 1),
    "garbage between lines": (with_line(2, lambda line: b"garbage\n\n" + line), True, 0),
    "bad JSON": (with_line(1, lambda line: line[:30] + line[31:]), True, 1),
    "bad UTF-8": (with_line(2, lambda line: line.replace(b'"score"', b'"sc\xff\xfere"')), True, 1),
    "a unit that the plan has not": (with_line(2, lambda line: line.replace(b'"task":"t', b'"task":"x')), True, 1),
    "a foreign unit's line added": (with_line(2, lambda line: GOOD_LINE.replace(b"t0", b"u0") + b"\n" + line), True, 0),
    "another shard's line": (with_line(1, lambda line: line.replace(b"shard-00", b"shard-01")), True, 1),
    "every line": (with_bytes(lambda raw: raw.replace(b'"', b"'")), True, 3),
    "the supervisor's records": (
        lambda path: (path.parent / "supervisor.0001.jsonl").write_bytes(b"\xff\n{}\n") and None,
        True,
        0,
    ),
    "a foreign file": (foreign("notes.txt"), True, 0),
    "a foreign file with a name of 250 bytes, none of them text": (foreign(os.fsdecode(b"\xff" * 250)), True, 0),
    "a folder and a dead link": (folder_and_link, True, 0),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_repair_then_resume(finished: Stage, how: str) -> None:
    """Row 14, fixed: what was readable and planned stays, what was not lies aside byte for byte, and resume goes on.

    The doctor tells the damage first, finds nothing after the repair, and a second repair moves nothing.
    """
    damage, refused, undone = DAMAGE[how]
    path = worker_file(finished)
    good = Counter(path.read_bytes().split(b"\n")[:-1])
    damage(path)
    before = everything(finished.run / "journal")
    readable = Counter(path.read_bytes().split(b"\n")[:-1]) & good

    asked = check_run(finished.run)
    problems = {each.name for each in asked if each.level is Level.PROBLEM}
    assert problems == ({"journal"} if refused else set()), asked
    assert everything(finished.run / "journal") == before, "looking changed something"

    done = repair(finished.run)
    aside = everything(finished.run / "journal-aside")
    assert bytes_of(before) == bytes_of(everything(finished.run / "journal"), aside)
    assert Counter(path.read_bytes().split(b"\n")[:-1]) == readable
    assert bool(done.moved) == (how != "cut at a line")
    assert len(done.moved) == len(list((finished.run / "journal-aside").iterdir())) if done.moved else not aside
    if undone and how != "cut at a line":
        assert len(done.again) == undone
    assert repair(finished.run).moved == ()
    levels = {each.name: each.level for each in check_run(finished.run)}
    assert levels.pop("units") == (Level.WARNING if undone else Level.OK)
    assert set(levels.values()) == {Level.OK}
    assert status(finished.run).census["ok"] == 6 - undone
    session = finished.resume()
    assert session.wait() == 0
    assert len(session.of("attempt_ended")) == undone
    finished.check(session)


def test_what_was_acknowledged_survives(stage: Stage) -> None:
    """I1 through a kill, damage and a repair: every acknowledged line is there, byte-equal, and none runs again."""
    stage.make_plan({f"t{n:02}": {"do": "ok", "s": 0.03} for n in range(30)}, shards=2)
    first = stage.start()
    first.wait_for("attempt_ended", 8)
    first.kill()
    stage.check(first)
    told = {event["task"] for event in first.of("attempt_ended")}
    starts = {task: stage.attempts(task) for task in told}
    for path in (stage.run / "journal").glob("shard-*"):
        lines = path.read_bytes().split(b"\n")
        middle = len(lines) // 2
        lines[middle:middle] = [b"\0" * 700, GOOD_LINE.replace(b"t0", b"u0"), b'{"shard":"sha', b""]
        path.write_bytes(b"\n".join(lines) + b'{"shard":' + b"\0" * 50)
    assert stage.resume().wait() == 3
    fixed = doctor(stage, "--repair")
    assert fixed.wait() == 0, fixed.output()
    second = stage.resume()
    assert second.wait() == 0
    for task, count in starts.items():
        assert stage.attempts(task) == count, f"{task} was acknowledged and ran again"
    stage.check(second)


def repair_that_dies(step: int, run: Path) -> int:
    """Repairs in a forked process that kills itself at this call to the disk; gives how it ended."""
    pid = os.fork()
    if pid == 0:
        left = step

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal left
                left -= not str(arguments[0]).startswith("/proc/")  # where no disk is
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **keywords)

            return call

        for name in ("fsync", "rename", "open", "mkdir", "chmod"):
            setattr(os, name, dying(getattr(os, name)))
        repair(run)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_sigkill_at_every_step_of_a_repair(finished: Stage) -> None:
    """No byte is lost wherever a repair dies, no readable line is out of the journal for a moment, and the next
    repair ends it."""
    path = worker_file(finished)
    with_line(2, lambda line: b"garbage\n" + line)(path)
    with_bytes(lambda raw: raw + b"torn")(path)
    foreign("notes.txt")(path)
    damaged = finished.root / "damaged"
    shutil.copytree(finished.run / "journal", damaged)
    good = [line for line in path.read_bytes().split(b"\n") if line.startswith(b"{")]
    for step in range(1, 200):
        for folder in ("journal", "journal-aside"):
            shutil.rmtree(finished.run / folder, ignore_errors=True)
        shutil.copytree(damaged, finished.run / "journal")
        code = repair_that_dies(step, finished.run)
        left = bytes_of(everything(finished.run / "journal"), everything(finished.run / "journal-aside"))
        assert not bytes_of(everything(damaged)) - left, f"step {step}"
        names = {path.name for path in (finished.run / "journal").iterdir()}
        assert names <= {path.name for path in damaged.iterdir()}, f"step {step} left a stranger to every reader"
        assert [line for line in path.read_bytes().split(b"\n") if line.startswith(b"{")] == good, f"step {step}"
        repair(finished.run)
        assert status(finished.run).census["ok"] == 6, f"step {step}"
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 10, "the repair was hardly met"
    assert code == 0


def test_the_commands_exit_codes_and_answers(finished: Stage) -> None:
    """1 with a problem, 0 without; with --json one object on stdout, with what was moved and what runs again."""
    with_line(2, lambda line: line[:-9])(worker_file(finished))
    asked = doctor(finished)
    assert asked.wait() == answer(asked)["exit_code"] == 1
    told = finding(asked, "journal")
    assert told["where"].endswith("shard-00.0001.0001.jsonl:2")
    assert told["hint"] == f"prealloc doctor {finished.run} --repair"
    fixed = doctor(finished, "--repair")
    assert fixed.wait() == answer(fixed)["exit_code"] == 0
    (moved,) = answer(fixed)["repair"]["moved"]
    assert (moved["file"], moved["line"], moved["lines"]) == ("shard-00.0001.0001.jsonl", 2, 1)
    assert Path(moved["aside"]).read_bytes().endswith(b"\n")
    assert len(answer(fixed)["repair"]["again"]) == 1
    session = finished.resume()
    assert session.wait() == 0
    finished.check(session)


def test_no_repair_beside_a_master(stage: Stage) -> None:
    """Row 16: while a master works on the run a repair is refused with 2, naming it; looking is fine."""
    stage.make_plan({"t": {"do": "gate"}, "u": {"do": "ok"}}, shards=2)
    first = stage.start()
    first.wait_for("attempt_ended")
    beside = doctor(stage)
    assert beside.wait() == 0, beside.output()
    assert f"process {first.process.pid}" in finding(beside, "master")["seen"]
    fixed = doctor(stage, "--repair")
    assert fixed.wait() == 2
    assert f"process {first.process.pid} on" in fixed.output()
    assert "is running it" in fixed.output()
    assert not (stage.run / "journal-aside").exists()
    stage.let_go()
    assert first.wait() == 0
    stage.check(first)


@pytest.mark.fresh  # a fork server is known by its command
def test_strays_are_found_and_nobody_else(stage: Stage) -> None:
    """I4, when the kernel or the fork server fail: each process of the run is named with what shows it, and how to
    end it; processes that only look like it are left alone; a repair waits for their end."""
    stage.make_plan({"t": {"do": "family", "then": "gil_blocked"}, "u": {"do": "ok"}}, shards=2)
    first = stage.start()
    stage.wait_for_start("t")
    wait_until((stage.signals / "family").exists, "the family")
    first.wait_for("attempt_ended")
    (worker,) = stage.pids("t")
    server = parent_of(worker)
    os.kill(server, signal.SIGSTOP)  # it cannot see that its master is gone
    first.kill()
    shells = [{pid for pid, command in stage.alive().items() if "trap" in command} for _ in range(3)]
    family = set.intersection(*shells)  # a shell's child looks like it for a moment, before it becomes `sleep`
    assert len(family) >= 2

    log = stage.run / "logs" / "shard-00.log"
    (shard,) = {event["shard"] for event in first.of("shard_started", pid=worker)}
    innocents = [
        subprocess.Popen(["tail", "-f", str(stage.run / "logs" / f"{shard}.log")], stdout=subprocess.DEVNULL),
        subprocess.Popen(["sleep", "60"], env={**os.environ, "PREALLOC_WORKER": str(worker)}),
        subprocess.Popen(["sleep", "60"], env={**os.environ, "PREALLOC_WORKER": str(worker), "PREALLOC_RUN": "1:2"}),
        subprocess.Popen(["sleep", "60"]),
    ]
    # The number of a worker that died long ago is that of an innocent now.
    records = JournalWriter(RunPaths(stage.run).supervisor_journal(2))
    records.append(WorkerStarted(shard="shard-00", incarnation=1, pid=innocents[-1].pid, units=1))
    records.close()
    try:
        assert log.exists()
        asked = doctor(stage)
        assert asked.wait() == 1, asked.output()
        told = finding(asked, "strays")
        assert told["level"] == "problem"
        pids = {int(word) for word in told["hint"].removeprefix("kill -9 ").split()}
        assert {worker, server} | family <= pids
        assert not pids & {process.pid for process in innocents}
        refused = doctor(stage, "--repair")
        assert refused.wait() == 2
        assert str(worker) in refused.output()
        subprocess.run(told["hint"].split(), check=False)  # some have ended by themselves
        # And what a shell had just started in the moment of the list: it ends by itself within a second.
        wait_until(lambda: not stage.alive(), "end of the strays")
        again = doctor(stage, "--repair")
        assert again.wait() == 0, again.output()
    finally:
        for process in innocents:
            process.kill()
            process.wait()


def test_a_child_that_shares_no_file_is_found_by_its_mark(stage: Stage) -> None:
    """What a task starts with streams of its own carries the run's mark, and is a stray when the master is gone."""
    stage.make_plan({"t": {"do": "quiet_child"}})
    first = stage.start()
    wait_until((stage.signals / "quiet").exists, "the child")
    child = int((stage.signals / "quiet").read_text())
    server = parent_of(stage.pids("t")[0])
    os.kill(server, signal.SIGSTOP)
    first.kill()
    asked = doctor(stage)
    assert asked.wait() == 1
    told = finding(asked, "strays")
    assert str(child) in told["hint"].split()
    assert f"a task of worker {stage.pids('t')[0]} started it" in told["seen"]
    stage.clean_up()
    assert doctor(stage).wait() == 0


def doctor(stage: Stage, *options: str) -> Session:
    """`prealloc doctor` on the stage's run."""
    return stage.command("doctor", str(stage.run), *options)


def answer(session: Session) -> dict[str, Any]:
    """The one JSON object on its stdout."""
    (line,) = [line for line in session.output().splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


def finding(session: Session, name: str) -> dict[str, Any]:
    (found,) = [each for each in answer(session)["run"] if each["name"] == name]
    return dict(found)


def everything(folder: Path) -> dict[str, bytes]:
    """The bytes of all files below a folder; where a link leads."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_symlink():
            found[str(path)] = os.fsencode(os.readlink(path)) + b"\n"
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


def bytes_of(*folders: dict[str, bytes]) -> Counter[int]:
    """How often each byte stands in these files: what is moved and not changed keeps it."""
    return Counter(byte for folder in folders for content in folder.values() for byte in content)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
