"""The timeout that a task names itself: read when it is planned, every mistake at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import prealloc
from prealloc.errors import OptionsError
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.plan_folder import read_plan


def library(folder: Path, limits: list[Any], **more: Any) -> Path:
    """A task for each of these limits; ... is none at all."""
    rows = [
        {"id": f"t{n}", "task_type": "t", **more, **({} if limit is ... else {"limit": limit})}
        for n, limit in enumerate(limits)
    ]
    path = folder / "t.json"
    path.write_text(json.dumps(rows))
    return path


def refusal(path: Path, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(OptionsError) as caught:
        prealloc.plan(path, whole=True, **options)
    return [(mistake.where, mistake.problem) for mistake in caught.value.mistakes]


def test_the_field_is_shipped_as_it_is(tmp_path: Path) -> None:
    """Beside those to keep, spelled as in the library; a task without one is told, and read back it is the same."""
    path = library(tmp_path, [30, "10m", None, ...], note="n")
    told: list[str] = []
    made = prealloc.plan(
        path, whole=True, timeout_field="limit", keep=["note"], out=tmp_path / "plan", notes=told.append
    )
    assert {task.id: task.extra for task in made.shards[0].tasks} == {
        "t0": {"limit": 30, "note": "n"},
        "t1": {"limit": "10m", "note": "n"},
        "t2": {"limit": None, "note": "n"},
        "t3": {"note": "n"},
    }
    assert told[-1] == "2 of 4 planned tasks have no 'limit': the ‹timeout_s› of the run holds for them"
    assert read_plan(tmp_path / "plan").file == made.file
    assert made.spec.keep == ("note",)
    assert prealloc.verify(tmp_path / "plan", library=path).id == made.id
    path.write_text(path.read_text().replace("10m", "20m"))
    with pytest.raises(prealloc.PlanError, match="1 planned tasks are not as planned: t1"):
        prealloc.verify(tmp_path / "plan", library=path)


def test_all_wrong_times_are_told_at_once(tmp_path: Path) -> None:
    """Each with its task, up to twenty, and how many more there are; of planned tasks only."""
    wrong: list[Any] = ["soon", 0, -1, True, [5], "none", 1e300, {"s": 1}]
    path = library(tmp_path, [5, *wrong])
    found = refusal(path, timeout_field="limit")
    assert sorted(where for where, _ in found) == [f"task t{n} limit" for n in range(1, 9)]
    found = refusal(library(tmp_path, ["x"] * 23), timeout_field="limit")
    assert len(found) == 21
    assert found[-1] == ("‹timeout_field›", "3 further tasks have no valid time")
    few = prealloc.plan(library(tmp_path, ["x", 5]), ids=["t1"], whole=True, timeout_field="limit")
    assert few.shards[0].tasks[0].extra == {"limit": 5}


def test_a_field_that_there_is_not(tmp_path: Path) -> None:
    """In no task: refused, with what there is. In a task that is not planned: it is told, and the run's holds."""
    path = library(tmp_path, [..., 5], wait=1)
    assert refusal(path, timeout_field="limits") == [
        ("‹timeout_field› limits", "no task of the library has such a field")
    ]
    told: list[str] = []
    prealloc.plan(path, ids=["t0"], whole=True, timeout_field="limit", notes=told.append)
    assert told[-2].startswith("1 of 1 planned tasks have no 'limit'")
    for field in ("id", "workflow", "", 3):
        with pytest.raises(OptionsError):
            PlanSpec.checked(timeout_field=field)  # type: ignore[arg-type]


def test_a_timeout_is_nothing_to_work_with(tmp_path: Path) -> None:
    """Tasks of an id, a type and a timeout are told to hold nothing, unless the field is kept."""
    path = library(tmp_path, [5, 6], question="q")
    bare: list[Any] = []
    prealloc.plan(path, whole=True, timeout_field="limit", bare=bare.append)
    assert [(each.tasks, each.keep) for each in bare] == [(2, "question")]
    bare.clear()
    prealloc.plan(path, whole=True, timeout_field="limit", keep=["question"], bare=bare.append)
    assert bare == []


def test_plans_without_it_keep_their_bytes() -> None:
    """Unset it is not written."""
    assert b"timeout_field" not in msgspec.json.encode(PlanSpec.checked(timeout_field=None))
    assert PlanSpec.checked(timeout_field=None) == PlanSpec.checked()
