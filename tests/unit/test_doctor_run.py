"""The doctor's checks of a run folder, and its repair, without processes of a run: fault planted, seen, fixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from prealloc import PlanError, RunFolderError, repair, run
from prealloc.doctor import run_checks
from prealloc.doctor.finding import Finding, Level
from prealloc.doctor.run_checks import FIRST, check_run, recorded_workers
from prealloc.doctor.strays import find_strays
from prealloc.files.lock import RunLock
from prealloc.files.paths import RunPaths
from prealloc.processes.parent import MARK, RUN_MARK, run_mark
from prealloc.store.journal_lines import WorkerStarted
from prealloc.store.journal_writer import JournalWriter
from prealloc.testing import make_plan

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "run"
    assert run(make_plan(6, shards=2), "prealloc.agents.simulate:run", out, engine="inline").exit_code == 0
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A finished run of two shards with three units each."""
    out = tmp_path / "run"
    shutil.copytree(made, out)
    return out


def worst(findings: list[Finding], name: str) -> Level:
    return max((f.level for f in findings if f.name == name), key=[OK, WARNING, PROBLEM].index)


def journal(folder: Path, shard: str = "shard-00") -> Path:
    (path,) = (folder / "journal").glob(f"{shard}.*")
    return path


def test_a_run_that_is_fine(folder: Path) -> None:
    """Everything is ok, and looking changes nothing."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = check_run(folder)
    assert {f.level for f in found} == {OK}
    assert {f.name for f in found} == {"run folder", "master", "journal", "strays", "units", "logs"}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    done = repair(folder)
    assert (done.moved, done.again) == ((), ())
    assert not (folder / "journal-aside").exists()


def test_no_run_folder(tmp_path: Path) -> None:
    """Bad input, not a finding."""
    with pytest.raises(RunFolderError, match="not a run folder"):
        check_run(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "plan/plan.json", "plan/shards/shard-01.json", "a slice"])
@pytest.mark.parametrize("how", ["edited", "gone"])
def test_each_file_of_the_plans_copy(folder: Path, name: str, how: str) -> None:
    """One byte of any file, and its loss, is a problem that names it; the journal is looked at all the same."""
    path = next((folder / "plan" / "slices").iterdir()) if name == "a slice" else folder / name
    if how == "gone":
        path.unlink()
    else:
        # Not in place: the plan's copies are hard links.
        raw = path.read_bytes()
        path.unlink()
        path.write_bytes(raw.replace(b'"version": 1', b'"version": 7').replace(b'"id":"task-', b'"id":"tusk-'))
    journal(folder).write_bytes(b"garbage\n" + journal(folder).read_bytes())
    found = check_run(folder)
    (told,) = [f for f in found if f.name == "run folder"]
    assert told.level is PROBLEM
    assert path.name in (told.where or "") or path.parent.name in (told.where or "")
    assert worst(found, "journal") is PROBLEM
    before = journal(folder).read_bytes()
    with pytest.raises((PlanError, RunFolderError)):
        repair(folder)
    assert journal(folder).read_bytes() == before
    assert not (folder / "journal-aside").exists()


def test_a_time_that_is_none(folder: Path) -> None:
    """created_at is for people: what somebody wrote there stops nothing."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "created_at": "yesterday"}))
    assert {f.level for f in check_run(folder)} == {OK}


def test_a_master_that_comes_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are seen after nobody held the lock are no strays if somebody holds it by then."""
    writer = JournalWriter(RunPaths(folder).worker_journal("shard-00", 2, 1))
    child = subprocess.Popen(["sleep", "60"], pass_fds=[writer._descriptor])
    held = RunLock(folder / "lock")
    try:
        assert worst(check_run(folder), "strays") is PROBLEM
        real = run_checks.strays_of

        def comes(*arguments: Any) -> Any:
            held.__enter__()
            return real(*arguments)

        monkeypatch.setattr(run_checks, "strays_of", comes)
        assert worst(check_run(folder), "strays") is OK
    finally:
        held.__exit__(None, None, None)
        child.kill()
        child.wait()
        writer.close()


def test_a_run_made_elsewhere(folder: Path) -> None:
    """Another Python or prealloc is a warning: it resumes, and results may differ."""
    path = folder / "run.json"
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps({**fields, "python": "3.99.0"}))
    found = check_run(folder)
    assert worst(found, "versions") is WARNING
    assert "3.99.0" in next(f.seen for f in found if f.name == "versions")


def test_the_owner_of_the_lock(folder: Path) -> None:
    """A live one is named; a dead one is told as the last; rubbish in the file is nobody."""
    with RunLock(folder / "lock"):
        found = {f.name: f.seen for f in check_run(folder)}
        assert f"process {os.getpid()} on" in found["master"]
        assert found["units"].endswith("resume would run 0")
        with pytest.raises(RunFolderError, match=str(os.getpid())):
            repair(folder)
    assert f"the last one was process {os.getpid()}" in {f.name: f.seen for f in check_run(folder)}["master"]
    (folder / "lock").write_bytes(b"\0{")
    assert {f.name: f.seen for f in check_run(folder)}["master"] == "none"


def test_a_line_being_written_is_no_damage(folder: Path) -> None:
    """While a master lives its writers' last lines may be unfinished; without one that is a warning."""
    with journal(folder).open("ab") as file:
        file.write(b'{"shard":"shard-00","task":"task-1","repeat":0,"att')
    with RunLock(folder / "lock"):
        assert worst(check_run(folder), "journal") is OK
    (told,) = [f for f in check_run(folder) if f.name == "journal"]
    assert told.level is WARNING
    assert "unfinished tail (of shard-00/task-1#0): 51 bytes of a line" in told.seen
    assert told.where == f"{journal(folder)}:4"


def test_damage_is_told_piece_by_piece(folder: Path) -> None:
    """File and line of each, the unit if it can be read; of very many the first ones and their number."""
    path = journal(folder)
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1][:-30]
    path.write_bytes(b"\n".join(lines))
    (told,) = [f for f in check_run(folder) if f.name == "journal"]
    assert told.where == f"{path}:2"
    assert "damaged line (of shard-00/task-3#0)" in told.seen
    path.write_bytes(b"x\n" * 1000)
    many = [f for f in check_run(folder) if f.name == "journal"]
    assert len(many) == FIRST + 1
    assert "990 more" in many[-1].seen
    (moved,) = repair(folder).moved  # neighbours go together
    assert (moved.line, moved.lines, moved.bytes) == (1, 1000, 2000)


def test_the_journal_folder_is_gone(folder: Path) -> None:
    """Every outcome with it: a problem."""
    shutil.rmtree(folder / "journal")
    assert worst(check_run(folder), "journal") is PROBLEM


def test_an_attempt_that_is_there_twice(folder: Path) -> None:
    """Two readable lines: a warning that names both, and no repair takes either."""
    path = journal(folder)
    first = path.read_bytes().split(b"\n")[0]
    with path.open("ab") as file:
        file.write(first + b"\n")
    found = check_run(folder)
    assert worst(found, "journal") is WARNING
    assert f"in {path.name}:1 and {path.name}:4" in next(f.seen for f in found if f.name == "journal")
    assert repair(folder).moved == ()


def test_a_lost_record_of_a_session(folder: Path) -> None:
    """The first line of a resume's supervisor may have opened outcomes again: that is told, and of no other line."""
    first = folder / "journal" / "supervisor.0001.jsonl"
    first.with_name("supervisor.0002.jsonl").write_bytes(b"?\n?\n")
    first.write_bytes(b"?" + first.read_bytes())
    told = {Path(f.where or "").name: f.seen for f in check_run(folder) if f.name == "journal"}
    assert {name for name, seen in told.items() if "resume --failed" in seen} == {"supervisor.0002.jsonl:1"}
    assert len(told) == 3


def test_logs(folder: Path) -> None:
    """Their sizes; one far over its cap is a warning."""
    with (folder / "logs" / "shard-00.log").open("wb") as file:
        file.truncate(200 * 2**20)
    assert worst(check_run(folder), "logs") is WARNING


def test_a_carriage_return_is_no_end_of_a_line(folder: Path) -> None:
    """A journal that went through another system's editor still reads, and each outcome is where it is said to be."""
    path = journal(folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert worst(check_run(folder), "journal") is OK
    from prealloc import outcomes

    assert [outcome.read().status for outcome in outcomes(folder)] == ["ok"] * 6


def test_a_process_id_proves_nothing(folder: Path) -> None:
    """This very process's parent has a number that the journal names as a worker's: it is not blamed."""
    records = JournalWriter(RunPaths(folder).supervisor_journal(2))
    records.append(WorkerStarted(shard="shard-00", incarnation=1, pid=os.getppid(), units=1))
    records.close()
    assert os.getppid() in recorded_workers(RunPaths(folder))
    assert worst(check_run(folder), "strays") is OK


def test_a_mark_counts_only_with_the_worker_and_the_time(folder: Path) -> None:
    """A process with the run's mark is no stray if the journal has not its worker, or if it began before the run."""
    paths = RunPaths(folder)
    environment = {**os.environ, RUN_MARK: run_mark(paths.journal), MARK: "77"}
    began = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=environment) as marked:
        assert [stray.pid for stray in find_strays(paths, {77}, began)] == [marked.pid]
        assert [stray.pid for stray in find_strays(paths, {77}, None)] == [marked.pid]
        assert find_strays(paths, {78}, began) == []
        assert find_strays(paths, {77}, began + 60.0) == []
