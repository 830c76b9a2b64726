"""`prealloc size` and size(): how many tasks show what."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc
from prealloc.model.outcome import Status
from prealloc.store.comparison import Member
from prealloc.store.known import known_of_difference, known_of_rate
from prealloc.store.unit_outcome import UnitOutcome


def test_sizes_by_repeats() -> None:
    """A row for each number of repeats; with repeats that are not alike fewer tasks are enough, and more units."""
    found = prealloc.size(half_width="5%", icc=0.6)
    assert [(size.repeats, size.tasks, size.units) for size in found.sizes] == [
        (1, 385, 385),
        (2, 308, 616),
        (3, 282, 846),
        (5, 262, 1310),
    ]
    assert found.cheapest.repeats == 1
    (only,) = prealloc.size(difference=0.1, differ="25%", repeats=3).sizes
    assert (only.tasks, only.units) == (189, 567)  # alike: the repeats add nothing


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, ["‹half_width›, ‹difference›"]),
        ({"half_width": "5%", "difference": "5%"}, ["‹half_width›, ‹difference›"]),
        ({"half_width": "0%", "power": "x", "repeats": 0}, ["‹half_width›", "‹power›", "‹repeats›"]),
        ({"difference": "60%"}, ["‹difference›"]),
        ({"half_width": True}, ["‹half_width›"]),
    ],
)
def test_wrong_questions(options: dict[str, Any], where: list[str]) -> None:
    """All mistakes at once; a difference that cannot be is one."""
    with pytest.raises(prealloc.OptionsError) as caught:
        prealloc.size(**options)
    assert [mistake.where for mistake in caught.value.mistakes] == where


def members(solves: Callable[[str, int, int], bool], *, repeats: int = 2, tasks: int = 40) -> list[Member]:
    """The units of a cell of each of two models."""
    return [
        Member(
            UnitOutcome(
                shard=model, task=f"t{task}", type="x", repeat=repeat, status=Status.OK, first_status=Status.OK,
                first_success=solves(model, task, repeat),
            ),
            {"model": model},
            b"",
        )
        for model in "ab" for task in range(tasks) for repeat in range(repeats)
    ]  # fmt: skip


def test_what_a_run_says_of_the_next() -> None:
    """By hand: repeats that always agree, repeats that tell nothing, and on how many tasks two models differ."""
    alike = members(lambda model, task, repeat: task % 4 == 0 if model == "a" else task % 4 < 2)
    known = known_of_rate(alike)
    assert known is not None
    assert (known.tasks, known.rate, known.icc) == (40, 0.375, 1.0)
    differ = known_of_difference(alike, "model")
    assert differ is not None
    assert (differ.tasks, differ.pairs, differ.differ, differ.icc) == (40, 1, 0.25, 1.0)
    chance = known_of_rate(members(lambda model, task, repeat: repeat == 0))
    assert chance is not None
    assert (chance.rate, chance.icc) == (0.5, 0.0)
    by_chance = known_of_difference(members(lambda model, task, repeat: repeat == 0), "model")
    assert by_chance is not None
    assert (by_chance.differ, by_chance.icc) == (0.5, 0.0)
    once = known_of_rate(members(lambda model, task, repeat: task % 2 == 0, repeats=1))
    assert once is not None
    assert once.icc is None
    assert known_of_difference(alike, "prompt") is None


def test_a_run_fills_in_what_is_not_given(tmp_path: Path, type_: Type) -> None:
    """Rate, icc and differ are the run's unless they are given; a run that says nothing of use is a mistake."""
    tasks = [{"id": f"t{n}", "type": "x", "workflow": {"n": n}} for n in range(20)]
    plan = prealloc.plan(tasks, factors={"model": ["a", "b"]}, num_instances_per_cell=20, repeats=2)
    prealloc.run(plan, solve, tmp_path / "run", engine="inline")
    run = str(tmp_path / "run")
    found = prealloc.size(half_width="5%", from_run=run)
    assert found.known is not None
    assert (found.asked.rate, found.asked.icc) == (found.known.rate, found.known.icc) == (0.625, 1.0)
    assert found.sizes[0].tasks == prealloc.size(half_width="5%", rate=0.625).sizes[0].tasks
    assert prealloc.size(half_width="5%", from_run=run, rate="50%").asked.rate == 0.5
    found = prealloc.size(difference="5%", from_run=run)
    assert (found.asked.differ, found.asked.icc) == (0.25, 1.0)
    shown = type_("size", "--diff", "5%", "--from", run, "--factor", "model").out
    assert f"from {run}, 20 tasks, 1 pair of cells that differ in model" in shown
    wrong = type_("size", "--diff", "5%", "--from", run, "--factor", "prompt")
    assert wrong.code == 2
    assert "no task is decided for two values of 'prompt'" in wrong.err
    assert type_("size", "--half-width", "5%", "--factor", "model").code == 2


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> object:
    return {"success": task.workflow["n"] % 4 < (2 if ctx.settings["model"] == "a" else 3)}


def test_the_command(type_: Type) -> None:
    """It says what the function says, as a table or as JSON; a mistake is exit code 2, in the command line's words."""
    done = type_("size", "--diff", "5%", "--differ", "15%", "--json")
    assert json.loads(done.out)["cheapest"] == {"repeats": 1, "tasks": 464, "units": 464}
    assert "464" in type_("size", "--diff", "5%", "--differ", "15%").out
    wrong = type_("size", "--diff", "2")
    assert (wrong.code, "--diff" in wrong.err) == (2, True)


def test_no_plan_loads_scipy(tmp_path: Path) -> None:
    """Statistics are for results: a plan says its precision without scipy and numpy, and so does a run."""
    program = """if True:
        import sys
        from prealloc.cli import main
        for words in (
            "library sample tasks.json --tasks 20 --workflow-bytes 300",
            "plan tasks.json -n 5 --out plan",
            "run plan --worker prealloc.agents.simulate:run --engine inline --out run",
            "status run",
        ):
            sys.argv = ["prealloc", *words.split()]
            assert main() == 0, words
        sys.exit(" ".join({"scipy", "numpy", "jinja2"} & sys.modules.keys()) or 0)
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
