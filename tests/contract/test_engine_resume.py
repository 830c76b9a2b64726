"""What every engine does with a plan or a run that is there: it goes on, or refuses what was changed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import contract_workers as workers
import pytest
from journals import lines_of

import prealloc
from prealloc.model.events import AttemptEnded, Event, RunEnded
from prealloc.report.progress import RunProgress
from prealloc.store.plan_folder import write_plan
from prealloc.testing import fails, make_plan, make_task, retries, returns, scripted

Go = Callable[..., RunEnded]


def test_resume_runs_what_is_open_and_nothing_else(go: Go, resume: Go, tmp_path: Path) -> None:
    """Law 7: infra is open, final outcomes are not; attempt numbers go on; a finished run has nothing to resume."""
    tasks = [
        make_task("flaky", script=[retries(retry_after_s=0.0), returns(1)]),
        make_task("bad", script=[fails()]),
        make_task("good"),
    ]
    assert go(make_plan(tasks), scripted, retries=0).census["infra"] == 1
    ended = resume()
    assert (ended.census["ok"], ended.census["failed"]) == (2, 1)
    before = lines_of(tmp_path / "run")
    assert [line["attempt"] for line in before if line["task"] == "flaky"] == [1, 2]
    assert resume().census == ended.census
    assert lines_of(tmp_path / "run") == before


def test_resume_failed_keeps_the_first_outcome_beside_the_latest(go: Go, resume: Go, tmp_path: Path) -> None:
    """`--failed` opens what is final but not ok; every rate stays that of the first outcomes, live and in results."""
    good = make_task("good", script=[returns({"success": True})])
    tasks = [make_task("second", script=[fails(), returns({"success": True})]), good]
    go(make_plan(tasks), scripted)
    progress = RunProgress()
    ended = resume(failed=True, observe=lambda event: progress.apply(event, 0.0))
    assert ended.exit_code == 0
    (row,) = prealloc.results(tmp_path / "run")
    assert (row.rate, ended.rate, progress.success_rate(progress.total)) == (0.5,) * 3
    assert (row.rate_latest, row.success_rate) == (1.0, 1.0)
    (second,) = [each for each in prealloc.outcomes(tmp_path / "run") if each.task == "second"]
    assert (second.first_status, second.status, second.attempts) == ("failed", "ok", 2)
    first, latest = second.read_first(), second.read()
    assert (first.status, first.error.message, first.attempt) == ("failed", "as its script says", 1)
    assert (latest.status, latest.attempt) == ("ok", 2)


def test_a_unit_in_backoff_is_not_decided_for_anyone(stopped: Go, tmp_path: Path) -> None:
    """Law 7: status, census and resume are folds over the same lines: `infra` only once the retries are used up."""
    seen: list[prealloc.RunStatus] = []

    def observe(event: Event) -> None:
        if isinstance(event, AttemptEnded) and not event.outcome and not seen:
            seen.append(prealloc.status(tmp_path / "run"))
            os.kill(os.getpid(), signal.SIGINT)

    tasks = [make_task("down", script=[retries(retry_after_s=60.0)]), make_task("bad", script=[fails()])]
    ended = stopped(make_plan(tasks), scripted, observe=observe, concurrency=2)
    for census in (seen[0].census, ended.census, prealloc.status(tmp_path / "run").census):
        assert (census["infra"], census["cancelled"]) == (0, 0)
        assert census["not_run"] + census["failed"] == 2
    assert seen[0].final == seen[0].census["failed"]
    assert ended.exit_code == 130


def test_reuse_takes_over_outcomes_of_unchanged_units(go: Go, tmp_path: Path) -> None:
    """Growing an experiment does not pay twice: same bytes, settings, repeat and worker are taken over, marked so."""
    small = [make_task(f"t{n}", workflow=n) for n in range(3)]
    grown = [*small[:2], make_task("t2", workflow="changed"), make_task("t3", workflow=3)]
    go(make_plan(small), workers.echo, "a")
    assert go(make_plan(grown, shards=2), workers.echo, "b", reuse=tmp_path / "a").exit_code == 0
    taken = {line["task"]: line.get("reused") for line in lines_of(tmp_path / "b")}
    assert taken == {"t0": str(tmp_path / "a"), "t1": str(tmp_path / "a"), "t2": None, "t3": None}
    with pytest.raises(prealloc.RunFolderError, match="worker function"):
        go(make_plan(grown), workers.vandal, "c", reuse=tmp_path / "a")


def _damage_a_slice(plan: Path, shard: str) -> None:
    """Changes one byte in a workflow of a shard's slice, which stays JSON."""
    manifest = json.loads((plan / "shards" / f"{shard}.json").read_text())
    path = plan / manifest["slice"]["file"]
    raw = path.read_bytes()
    path.unlink()  # it may be one file with another folder's
    path.write_bytes(raw.replace(b'"n":1', b'"n":2'))
    assert path.read_bytes() != raw


def test_a_plan_is_checked_whole_before_a_run_is_made_of_it(go: Go, tmp_path: Path) -> None:
    """Exit code 2 means that nothing was changed: a damaged slice is found before the first task, not at its shard."""
    write_plan(make_plan([make_task(f"t{n}", workflow={"n": 1, "id": n}) for n in range(6)], shards=3), tmp_path / "p")
    _damage_a_slice(tmp_path / "p", "shard-02")
    with pytest.raises(prealloc.PlanError, match="not what was planned"):
        go(tmp_path / "p", workers.echo, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_slice_that_is_damaged_during_its_run_stops_it_and_locks_nothing_away(
    go: Go, resume: Go, tmp_path: Path
) -> None:
    """What finished is kept and can be read. Too late to refuse: CannotGoOn. Resume refuses until it is fixed."""
    write_plan(make_plan([make_task(f"t{n}", workflow={"n": 1, "id": n}) for n in range(6)], shards=3), tmp_path / "p")
    copy = tmp_path / "run" / "plan"

    def observe(event: Event) -> None:
        if isinstance(event, AttemptEnded) and event.shard == "shard-00":
            _damage_a_slice(copy, "shard-02") if not damaged else None
            damaged.append(event)

    damaged: list[Event] = []
    with pytest.raises(prealloc.CannotGoOn, match="not what was planned") as caught:
        go(tmp_path / "p", workers.echo, workers=1, observe=observe)
    assert not isinstance(caught.value, prealloc.InputError)
    status = prealloc.status(tmp_path / "run")
    assert status.census["ok"] >= 2
    assert "cannot be run" in status.warnings[0]
    assert len([each for each in prealloc.outcomes(tmp_path / "run") if each.outcome]) == status.census["ok"]
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(prealloc.PlanError, match="not what was planned"):
        resume()
    assert sorted((tmp_path / "run").rglob("*")) == before
    (damaged_slice,) = [path for path in (copy / "slices").iterdir() if b'"n":2' in path.read_bytes()]
    damaged_slice.write_bytes((tmp_path / "p" / "slices" / damaged_slice.name).read_bytes())
    assert resume().exit_code == 0


def test_a_reuse_that_is_refused_makes_no_folder(go: Go, tmp_path: Path) -> None:
    """Another worker's outcomes and a damaged journal are found before there is anything to resume."""
    go(make_plan(2), workers.echo, "a")
    with pytest.raises(prealloc.RunFolderError, match="worker function"):
        go(make_plan(2), workers.vandal, "b", reuse=tmp_path / "a")
    (file,) = (tmp_path / "a" / "journal").glob("shard-00*")
    file.write_bytes(b"{" + file.read_bytes())
    with pytest.raises(prealloc.JournalError):
        go(make_plan(2), workers.echo, "b", reuse=tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_run_folder_is_used_once(go: Go, tmp_path: Path) -> None:
    """`run` on a folder with a run refuses and names resume; nothing in it changes."""
    go(make_plan(1), workers.echo)
    before = lines_of(tmp_path / "run")
    with pytest.raises(prealloc.RunFolderError, match="prealloc resume"):
        go(make_plan(1), workers.echo)
    assert lines_of(tmp_path / "run") == before


def test_a_plan_edited_between_run_and_resume_is_refused(go: Go, resume: Go, tmp_path: Path) -> None:
    """The run's copy of the plan is checked byte by byte before anything is run again."""
    plan = make_plan([make_task("a", script=[retries(retry_after_s=0.0)])])
    write_plan(plan, tmp_path / "plan")
    go(tmp_path / "plan", scripted, retries=0)
    manifest = tmp_path / "run" / "plan" / "shards" / "shard-00.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 9'))
    with pytest.raises(prealloc.PlanError, match="not the manifest that was planned"):
        resume()


def test_damage_in_the_journal_is_refused_and_a_cut_tail_is_not(go: Go, resume: Go, tmp_path: Path) -> None:
    """An unfinished last line is what a kill leaves: its unit runs again. Damage before it names file and line."""
    go(make_plan(3), workers.echo)
    (file,) = (tmp_path / "run" / "journal").glob("shard-00*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert prealloc.status(tmp_path / "run").census["not_run"] == 1
    assert resume().exit_code == 0
    file.write_bytes(whole.replace(b'"status"', b'"statsu"', 1))
    with pytest.raises(prealloc.JournalError, match="line 1") as caught:
        prealloc.status(tmp_path / "run")
    assert caught.value.where == str(file)


@pytest.mark.starts
def test_ctrl_c_drains_and_resume_goes_on(stopped: Go, resume: Go, tmp_path: Path) -> None:
    """The first signal lets running tasks end and starts no more: KeyboardInterrupt; resume runs exactly the rest."""
    tasks = [make_task(f"t{n}", script=[returns(n, after_s=0.2)]) for n in range(8)]
    seen: list[Event] = []

    def observe(event: Event) -> None:
        if isinstance(event, AttemptEnded) and not any(isinstance(e, AttemptEnded) for e in seen):
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            time.sleep(0.05)
        seen.append(event)

    ended = stopped(make_plan(tasks, shards=2), scripted, observe=observe)
    assert ended.exit_code == 130
    assert 1 <= ended.census["ok"] < 8
    assert ended.census["ok"] + ended.census["not_run"] + ended.census["cancelled"] == 8
    assert ended.resume is not None
    assert resume().exit_code == 0
    assert Counter(line["task"] for line in lines_of(tmp_path / "run") if line["status"] == "ok") == {
        f"t{n}": 1 for n in range(8)
    }


def test_the_end_is_told_of_the_whole_run(go: Go, resume: Go, tmp_path: Path) -> None:
    """Law 5: after a resume that runs nothing, the end still has every unit's type, error and time."""
    tasks = [
        make_task("bad", "x", script=[fails("no luck")]),
        make_task("good", "x", script=[returns({"success": True})]),
        make_task("other", "y", script=[returns({"success": False})]),
    ]
    first = go(make_plan(tasks, repeats=2), scripted)
    again = resume()
    for ended in (first, again):
        assert [(t.type, t.units, t.ok, t.rate) for t in ended.types] == [("x", 4, 2, 0.5), ("y", 2, 2, 0.0)]
        assert (ended.success.successes, ended.rate) == (2, 2 / 6)
        assert [(kind.message, kind.units) for kind in ended.errors] == [("no luck", 2)]
        assert len(ended.slowest) == 5
