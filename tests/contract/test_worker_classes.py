"""A worker that is a class: one object for each worker process, on every engine."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import class_workers as workers
import pytest

import prealloc
from prealloc.engines.hosts.losses import LOST_IN_A_ROW
from prealloc.model.events import Note, RunEnded
from prealloc.testing import make_plan, make_task, run_task

Go = Callable[..., RunEnded]


@pytest.fixture(autouse=True)
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the objects say what happens to them."""
    monkeypatch.setenv(workers.TOLD, str(tmp_path / "told"))
    return tmp_path / "told"


def counted(told: Path) -> dict[str, int]:
    return dict(Counter(line.split()[0] for line in told.read_text().splitlines()))


def results(run: Path) -> list[Any]:
    return [each.read().result for each in prealloc.outcomes(run) if each.status == "ok"]


@pytest.mark.starts
@pytest.mark.parametrize("worker", [workers.Counts, workers.Entered, workers.Async, workers.AsyncCloses])
def test_made_once_for_each_shards_worker_and_closed_once(go: Go, tmp_path: Path, told: Path, worker: Any) -> None:
    """Two shards: two objects, each called for each of its tasks, a failing one too, then closed; all in one thread."""
    tasks = [make_task(f"t{n}", workflow="fail" if n == 3 else None) for n in range(6)]
    ended = go(make_plan(tasks, shards=2), worker, rebalance=False)  # a unit that moves has another worker
    assert (ended.census["ok"], ended.census["failed"]) == (5, 1)
    entered = {"entered": 2, "exited": 2} if worker in (workers.Entered, workers.Async) else {"closed": 2}
    assert counted(told) == {"made": 2, "called": 6, **entered}
    assert sorted(each["calls"] for each in results(tmp_path / "run")) in ([1, 1, 2, 3, 3], [1, 2, 2, 3, 3])
    assert all(each["current"] for each in results(tmp_path / "run"))
    order: dict[str, list[str]] = defaultdict(list)
    for line in told.read_text().splitlines():
        what, _, who = line.partition(" ")
        order[who].append(what)
    assert len(order) <= 2  # the inline engine has one thread for both
    for what in order.values():
        assert what[0] == "made"
        assert what[-1] in ("closed", "exited")


@pytest.mark.parametrize("worker", [workers.Counts, workers.Async])
def test_tasks_at_once_share_the_object(go: Go, tmp_path: Path, told: Path, worker: Any) -> None:
    """With concurrency 3 it is one object all the same."""
    assert go(make_plan(9), worker, concurrency=3).exit_code == 0
    assert counted(told)["made"] == 1
    assert counted(told).get("closed", counted(told).get("exited")) == 1
    assert max(each["calls"] for each in results(tmp_path / "run")) == 9


@pytest.mark.starts
@pytest.mark.parametrize(
    ("worker", "cause"), [(workers.CannotBeMade, "no database at db:5432"), (workers.CannotBeEntered, "no browser")]
)
def test_an_object_that_cannot_be_made_ends_the_run(go: Go, told: Path, machines: int, worker: Any, cause: str) -> None:
    """With the cause, exit code 3, after one try: no task is charged with it.

    On hosts it is tried on others, which may have what one lacks, until all are lost that are there.
    """
    with pytest.raises(prealloc.CannotGoOn, match=cause) as found:
        go(make_plan(4), worker)
    assert f"{worker.__name__} cannot be made" in found.value.problem
    assert found.value.where == "shard shard-00"
    most = 1 if machines == 1 else machines + LOST_IN_A_ROW
    assert counted(told).keys() == {"made"}
    assert 1 <= counted(told)["made"] <= most


@pytest.mark.starts
def test_an_object_that_cannot_be_closed_is_noted(go: Go, machines: int, tmp_path: Path) -> None:
    """Its units have their outcomes, and the run ends well."""
    notes: list[str] = []
    watch = lambda event: notes.append(event.text) if isinstance(event, Note) else None  # noqa: E731
    ended = go(make_plan(2), workers.CannotBeClosed, observe=watch)
    assert ended.exit_code == 0
    (note,) = notes
    who = r"host-\d: " if machines > 1 else ""
    assert re.match(f"{who}shard-00: its worker was not closed: OSError: the connection was gone", note)
    log = tmp_path / "run" / "logs" / "shard-00.log"
    assert note.endswith(f"see {log}")
    assert "Traceback" in log.read_text()


@pytest.mark.starts
@pytest.mark.parametrize(
    ("worker", "problem", "hint"),
    [
        (workers.NoCall, "a class without __call__", "def __call__(self, task, ctx)"),
        (workers.NeedsMore, "cannot be made as NeedsMore(): missing a required argument: 'url'", "ctx.settings"),
        (workers.CalledWithLess, "cannot be called as CalledWithLess.__call__(task, ctx)", "def __call__(self, task"),
        (workers.AsyncAtTheEndAlone, "its __aenter__ is async, but its __call__ is not", "async def __call__"),
    ],
)
def test_a_class_that_cannot_run_is_refused_first(
    go: Go, tmp_path: Path, told: Path, worker: Any, problem: str, hint: str
) -> None:
    """Exit code 2, nothing is made: no object, no folder."""
    with pytest.raises(prealloc.WorkerFunctionError) as found:
        go(make_plan(2), worker)
    assert problem in found.value.problem
    assert hint in (found.value.hint or "")
    assert not (tmp_path / "run").exists()
    assert not told.exists()


def test_run_task_makes_and_closes_one(told: Path) -> None:
    """A class as in a run; an object of it, which is the test's own, is only called."""
    assert run_task(workers.Async).result == {"calls": 1, "current": True}
    assert counted(told) == {"made": 1, "entered": 1, "called": 1, "exited": 1}
    mine = workers.Counts()
    assert [run_task(mine).result["calls"] for _ in range(2)] == [1, 2]
    assert "closed" not in counted(told)
    with pytest.raises(prealloc.WorkerFunctionError, match="no database"):
        run_task(workers.CannotBeMade)
    with pytest.raises(prealloc.WorkerFunctionError, match="not closed: OSError"):
        run_task("class_workers:CannotBeClosed")


@pytest.mark.parametrize("worker", [workers.Counts, workers.Async])
def test_inline_within_an_event_loop(tmp_path: Path, told: Path, worker: Any) -> None:
    """In a notebook, too, an object has one thread, and one event loop, from its making to its end."""

    async def notebook() -> RunEnded:
        return prealloc.run(make_plan(3), worker, tmp_path / "run", engine="inline")

    assert asyncio.run(notebook()).exit_code == 0
    lines = [line.split() for line in told.read_text().splitlines()]
    assert len({thread for *_, thread in lines}) == 1
    assert {counted(told)[what] for what in ("made", "closed" if worker is workers.Counts else "exited")} == {1}
