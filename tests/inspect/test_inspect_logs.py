"""`prealloc export --to inspect`: Inspect's own reader finds every unit, and the numbers of `prealloc results`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import prealloc

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages that Inspect imports


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    n = task.workflow["n"]
    if n == 0:
        raise ValueError("no\x00such <thing>")
    if n == 1 and ctx.attempt == 1:
        raise prealloc.Retryable("busy")
    if n == 2 and ctx.settings["model"] == "b":
        raise prealloc.Retryable("always busy")
    return {"success": (n + ctx.repeat) % 2 == 0, "score": n / 10, "usage": {"input_tokens": 7, "output_tokens": 3}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of six tasks and two repeats: one fails, one is tried again, one stays undecided in a cell."""
    folder = tmp_path_factory.mktemp("inspect")
    tasks = [{"id": f"t{n}", "type": "x", "workflow": {"n": n}} for n in range(6)]
    plan = prealloc.plan(tasks, factors={"model": ["a", "b"]}, num_instances_per_cell=6, repeats=2)
    prealloc.run(plan, solve, folder / "run", engine="inline", retries=1)
    return folder / "run"


def test_inspect_reads_what_results_say(run: Path, tmp_path: Path) -> None:
    """One log a cell, one sample a unit, scored as in every rate; what is undecided has no score."""
    from inspect_ai.log import read_eval_log

    assert prealloc.export(run, tmp_path / "logs", to="inspect") == 24
    logs = [read_eval_log(str(path)) for path in sorted((tmp_path / "logs").iterdir())]
    rows = {row.group["model"]: row for row in prealloc.results(run, by=["model"])}
    assert [(log.eval.model, log.status) for log in logs] == [("a", "success"), ("b", "cancelled")]
    for log in logs:
        row, samples = rows[log.eval.model], log.samples or []
        assert log.results is not None
        metrics = {score.name: score.metrics for score in log.results.scores}
        assert (metrics["success"]["accuracy"].value, metrics["success"]["low"].value) == (row.rate, row.low)
        assert metrics["score"]["mean"].value == row.mean_score
        assert (log.results.total_samples, len(samples), log.eval.config.epochs) == (12, 12, 2)
        assert {(sample.id, sample.epoch) for sample in samples} == {(f"t{n}", e) for n in range(6) for e in (1, 2)}
        scored = [sample.scores["success"].value for sample in samples if sample.scores]
        assert (len(scored), sum(scored) / len(scored)) == (row.rated, row.rate)
    samples = {(sample.id, sample.epoch): sample for sample in logs[1].samples or []}
    failed, retried, undecided = samples["t0", 1], samples["t1", 1], samples["t2", 1]
    assert failed.error is not None
    assert failed.error.message.startswith("ValueError: no")
    assert failed.scores is not None
    assert failed.scores["success"].value == 0
    assert [each.message for each in retried.error_retries or []] == ["prealloc.errors.Retryable: busy"]
    assert retried.metadata["result"]["score"] == 0.1
    assert (undecided.scores, undecided.metadata["status"]) == (None, "infra")
    assert not prealloc.export(run, tmp_path / "bare", to="inspect", results=False) < 24
    bare = read_eval_log(str(sorted((tmp_path / "bare").iterdir())[0]))
    assert all("result" not in sample.metadata for sample in bare.samples or [])


def test_a_folder_that_is_there_stays(run: Path, tmp_path: Path) -> None:
    """It is somebody's."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").touch()
    with pytest.raises(prealloc.InputError, match="it already exists"):
        prealloc.export(run, tmp_path / "logs", to="inspect")
