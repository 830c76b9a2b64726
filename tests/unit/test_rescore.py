"""`prealloc rescore`: other scores beside the journal, which stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc
from prealloc.files.paths import RunPaths

LENIENT = "lenient"


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    if task.workflow["n"] == 5:
        raise ValueError("no")
    return {"success": False, "score": 0.0, "answer": task.workflow["n"]}


def strict(task: prealloc.LightweightTask, result: Any) -> dict[str, Any]:
    return {"success": result["answer"] == task.workflow["n"] and task.workflow["n"] > 1, "score": 0.5}


async def one_number(task: prealloc.LightweightTask, result: Any) -> float:
    if result["answer"] == 2 and not os.environ.get("GRADER_IS_WELL"):
        raise OSError("the grader does not answer")
    return float(result["answer"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tasks, of which one fails; the agent says that none succeeded."""
    folder = tmp_path_factory.mktemp("rescore")
    tasks = [{"id": f"t{n}", "type": "x", "workflow": {"n": n}} for n in range(6)]
    prealloc.run(prealloc.plan(tasks, whole=True), solve, folder / "run", engine="inline")
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "journal").iterdir()}


def test_the_journal_stays_and_scores_stand_beside_it(run: Path) -> None:
    """What did not end ok stays a failure; outcomes name the scorer that judged them; a second call finds nothing."""
    before = digests(run)
    found = prealloc.rescore(run, strict)
    assert (found.name, found.scored, found.before, found.failed) == ("strict", 5, 0, 0)
    (own,), (judged,) = prealloc.results(run), prealloc.results(run, scores="strict")
    assert (own.rate, own.scorer) == (0.0, None)
    assert (judged.rate, judged.rated, judged.mean_score) == (pytest.approx(3 / 6), 6, 0.5)
    assert judged.scorer == f"{__name__}:strict"
    assert {outcome.scorer for outcome in prealloc.outcomes(run, scores="strict")} == {f"{__name__}:strict"}
    assert prealloc.rescore(run, strict).before == 5
    assert digests(run) == before


def test_a_scorer_that_raises_is_asked_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result has no score, which is neither success nor failure; the next call tries what is missing alone."""
    found = prealloc.rescore(run, one_number, concurrency=3)
    assert (found.scored, found.failed, found.example) == (4, 1, "OSError: the grader does not answer")
    (row,) = prealloc.results(run, scores="one_number")
    assert (row.scored, row.mean_score) == (4, pytest.approx((0 + 1 + 3 + 4) / 4))
    monkeypatch.setenv("GRADER_IS_WELL", "1")
    found = prealloc.rescore(run, one_number)
    assert (found.scored, found.before, found.failed) == (1, 4, 0)
    assert prealloc.results(run, scores="one_number")[0].scored == 5


def test_a_line_that_was_cut_is_scored_again(run: Path) -> None:
    """A kill in the middle of a line loses that score alone."""
    prealloc.rescore(run, strict)
    path = RunPaths(run).scored("strict")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert prealloc.rescore(run, strict).scored == 1
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'"attempt":1', b'"attempt":"x"', 1))
    with pytest.raises(prealloc.JournalError):
        prealloc.results(run, scores="strict")


def test_a_name_has_one_scorer(run: Path) -> None:
    """Scores of two scorers never mix: the second is refused, or makes the file anew."""
    prealloc.rescore(run, strict, name=LENIENT)
    with pytest.raises(prealloc.OptionsError, match="has the scores of"):
        prealloc.rescore(run, one_number, name=LENIENT)
    assert prealloc.rescore(run, one_number, name=LENIENT, force=True).before == 0
    for wrong in ({"name": "../x"}, {"concurrency": 0}):
        with pytest.raises(prealloc.OptionsError):
            prealloc.rescore(run, strict, **wrong)  # type: ignore[arg-type]
    with pytest.raises(prealloc.OptionsError, match="no scores named"):
        prealloc.results(run, scores="unknown")


def test_the_command(run: Path, type_: Type, tmp_path: Path) -> None:
    """Exit code 1 if the scorer failed on some; results, compare and export take the scores."""
    (tmp_path / "my_grader.py").write_text("def all_good(task, result):\n    return True\n")
    done = type_("rescore", str(run), "--scorer", "my_grader:all_good", "--json")
    assert (done.code, json.loads(done.out)["scored"]) == (0, 5)
    table = type_("results", str(run), "--scores", "all_good").out
    assert "83.3%" in table
    assert table.endswith("judged by my_grader:all_good\n")
    assert type_("export", str(run), "--out", "u.csv", "--scores", "all_good").code == 0
    assert (tmp_path / "u.csv").read_text().count("true,true") == 5
    assert type_("rescore", str(run), "--scorer", "my_grader:nothing").code == 2
    assert type_("results", str(run), "--scores", "nothing").code == 2


def test_an_experiment_is_judged_run_by_run(tmp_path: Path) -> None:
    """Every run of it, as one; a name that another scorer has in any of them is refused before any is judged."""
    exp = tmp_path / "exp"
    for models in (["a"], ["a", "b"]):
        tasks = [{"id": f"t{n}", "type": "x", "workflow": {"n": n}} for n in range(6)]
        plan = prealloc.plan(tasks, factors={"model": models}, num_instances_per_cell=6)
        prealloc.run(plan, solve, experiment=exp, engine="inline")
    found = prealloc.rescore(exp, strict)
    assert (found.run, found.scored, found.before) == (str(exp), 10, 0)
    rows = prealloc.results(exp, by=["model"], scores="strict")
    assert [(row.group["model"], row.rate) for row in rows] == [("a", 3 / 6), ("b", 3 / 6)]
    assert prealloc.compare(exp, factor="model", scores="strict").rows[0].verdict == "too few tasks differ"
    assert prealloc.export(exp, tmp_path / "u.jsonl", scores="strict") == 12
    assert prealloc.rescore(exp, strict).before == 10
    prealloc.rescore(exp / "runs" / "0002", one_number, name="mixed")
    with pytest.raises(prealloc.OptionsError, match="0002 has the scores of"):
        prealloc.rescore(exp, strict, name="mixed")
    assert not RunPaths(exp / "runs" / "0001").scored("mixed").exists()
