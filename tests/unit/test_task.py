"""LightweightTask made from plain values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.pretty import pretty_repr

from prealloc import LibraryError, LightweightTask
from prealloc.model.plan import LibraryInfo
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.build import PlannedShard, build_plan


@pytest.mark.parametrize("value", [math.nan, {"a": [math.inf]}, b"x", {1, 2}, {1: 2}, "\udcff", 2**64], ids=repr)
def test_what_is_no_json_is_refused_and_never_bent(value: Any) -> None:
    """NaN does not become null, nor bytes text: from_dict, kept fields and the constructor refuse alike."""
    with pytest.raises(LibraryError, match="workflow"):
        LightweightTask.from_dict({"id": "a", "type": "t", "workflow": value})
    with pytest.raises(LibraryError, match="extra"):
        LightweightTask.from_dict({"id": "a", "type": "t", "k": value}, keep=("k",))
    with pytest.raises(LibraryError, match="workflow"):
        LightweightTask(id="a", type="t", workflow=value)  # type: ignore[call-arg]


@pytest.mark.parametrize("task", [[1], None, "id", {"id": 1, "type": "t"}, {"id": "\udcff", "type": "t"}, {"id": "a"}])
def test_what_is_no_task_is_a_library_error(task: Any) -> None:
    """One kind of error, with the hint."""
    with pytest.raises(LibraryError) as caught:
        LightweightTask.from_dict(task)
    assert caught.value.hint


def test_the_repr_of_what_holds_tasks_is_one_short_line() -> None:
    """Plans, shards and tasks, with none of the tasks' bytes, also where rich prints them."""
    made = [LightweightTask(id=f"t{n}", type="a", workflow="SECRET" * 10_000) for n in range(40)]  # type: ignore[call-arg]
    made.append(LightweightTask(id="long\n" * 10_000, type="a"))
    planned = PlannedShard("s", made, {}, {})
    info = LibraryInfo(path="l", name="l", bytes=1, sha256="0" * 64, tasks=41, types={"a": 41})
    plan = build_plan(PlanSpec.checked(whole=True), [info], [planned])
    for thing in (*made, planned, plan, plan.shards[0]):
        for text in (repr(thing), str(thing), pretty_repr(thing, max_width=500)):
            assert len(text) < 200
            assert "\n" not in text
            assert "SECRET" not in text
    assert repr(plan.shards[0]) == "Shard(s: 41 tasks)"
    assert repr(plan) == f"Plan({plan.id[:12]}: 1 shards, 41 units)"
    assert repr(made[0]) == "LightweightTask(id='t0', type='a', workflow_bytes=60002)"
