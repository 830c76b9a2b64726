"""A part of a run: what is asked for, what is left open, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc
from prealloc.errors import OptionsError
from prealloc.model.part import Part

CELLS = {"model": ["o3", "o4"], "level": ["1", "2"], "heat": [0, 0.5]}
WORKER = """
import os

def solve(task, ctx):
    with open("ran", "a") as file:
        file.write(f"{ctx.shard}/{task.id}#{ctx.repeat}\\n")
    if task.id in os.environ.get("FAILING", "").split():
        raise {"b": KeyError, "a": ValueError}[task.type](task.id)
    return {"success": True}
"""


@pytest.fixture
def plan(tmp_path: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six cells, one shard each; every shard has the same four tasks of two types, twice."""
    tasks = [{"id": f"t{i}", "type": "ab"[i % 2], "workflow": {}} for i in range(4)]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    (tmp_path / "part_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    prealloc.plan("tasks.json", out="plan", whole=True, repeats=2, factors=CELLS, exclude=[{"model": "o4", "heat": 0}])
    return Path("plan")


def ran() -> list[str]:
    """The units that have run since the last call."""
    path = Path("ran")
    units = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return units


def run(plan: Path, **options: Any) -> prealloc.RunEnded:
    return prealloc.run(plan, "part_worker:solve", "run", engine="inline", **options)


def test_a_part_runs_and_the_rest_stays_open(plan: Path, type_: Type) -> None:
    """What is not asked for is open, not lost: the end and `status` say so, and resume runs it."""
    ended = run(plan, only="model=o3,level=1", limit=3)
    first = ran()
    shards = ["o3.1.0.00", "o3.1.0.5.00"]
    assert sorted({unit.split("/")[0] for unit in first}) == shards
    assert len(first) == 6
    assert (ended.exit_code, ended.not_asked, ended.not_ok, ended.missing) == (0, 42, 0, ())
    assert (ended.census["ok"], ended.census["not_run"]) == (6, 42)
    assert ended.resume == "prealloc resume run"
    status = type_("status", "run")
    assert status.code == 1
    assert "asked for a part: --only model=o3,level=1 --limit 3" in status.out
    assert status.out.rstrip().endswith("to run the rest: prealloc resume run")
    whole = type_("resume", "run")
    assert (whole.code, len(ran())) == (0, 42)
    assert "units      48, all ok" in whole.out
    assert "not asked" not in whole.out


def test_a_limit_is_of_each_shard_and_names_the_same_units_again(plan: Path) -> None:
    """The first N that a whole run starts: a smoke test that is asked for twice runs once."""
    run(plan, limit=2)
    first = ran()
    assert len(first) == 12
    ended = prealloc.resume("run", limit=2)
    assert (ran(), ended.exit_code) == ([], 0)
    prealloc.run(plan, "part_worker:solve", "whole", engine="inline")
    whole = ran()
    for shard in {unit.split("/")[0] for unit in first}:
        mine = [unit for unit in first if unit.startswith(f"{shard}/")]
        assert mine == [unit for unit in whole if unit.startswith(f"{shard}/")][:2]


@pytest.mark.parametrize(
    ("part", "units"),
    [
        ({"only": {"model": "o4"}}, 16),
        ({"only": [{"model": "o4"}, "level=1"]}, 32),
        ({"only": "heat=0.5,model=o3"}, 16),
        ({"type": "b"}, 24),
        ({"type": "a,b", "shard": ["o3.1.0.00", "o4.2.0.5.00"]}, 16),
        ({"unit": ["o3.1.0.00/t0#0", "o3.1.0.00/t1#1,o4.1.0.5.00/t3#0"]}, 3),
        ({"type": "b", "limit": 1, "shard": "o3.1.0.00"}, 1),
    ],
    ids=str,
)
def test_conditions_are_met_together(plan: Path, part: dict[str, Any], units: int) -> None:
    """Each condition leaves units out; several values of one are joined by or, values within --only by and."""
    ended = run(plan, **part)
    assert (len(ran()), ended.not_asked, ended.exit_code) == (units, 48 - units, 0)


def test_units_run_again_by_their_error(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`error` opens just these units, for this session and for whoever comes after it; others keep their outcome."""
    monkeypatch.setenv("FAILING", "t0 t1")
    ended = run(plan)
    assert (ended.census["failed"], ended.exit_code, len(ran())) == (24, 1, 48)
    monkeypatch.setenv("FAILING", "")
    ended = prealloc.resume("run", error="KeyError", only="model=o3,level=2")
    assert sorted(ran()) == [f"o3.2.{heat}.00/t1#{repeat}" for heat in ("0", "0.5") for repeat in (0, 1)]
    assert (ended.census["ok"], ended.exit_code, ended.not_ok_before, ended.not_ok) == (28, 0, 20, 0)
    assert ended.resume == "prealloc resume run --failed"
    ended = prealloc.resume("run")
    assert (ran(), ended.exit_code, ended.not_ok) == ([], 1, 20)
    ended = prealloc.resume("run", failed=True, type="a", limit=1)
    assert sorted({unit.split("/")[1] for unit in ran()}) == ["t0#0"]
    assert ended.census["ok"] == 34
    ended = prealloc.resume("run", failed=True)
    assert (len(ran()), ended.census["ok"], ended.exit_code, ended.resume) == (14, 48, 0, None)


def test_all_mistakes_are_told_with_what_there_is(plan: Path, type_: Type) -> None:
    """Unknown names are mistakes, all at once with those of other options; exit code 2, and nothing is there."""
    words = ["run", "plan", "--worker", "part_worker:solve", "--out", "run", "--engine", "inline"]
    part = ["--only", "model=o5,hat=1", "--only", "level", "--type", "c", "--shard", "o3.1", "--unit", "o3.1.0.00/t9#0"]
    done = type_(*words, *part, "--limit", "0", "--retries", "-1", "--failed")
    assert done.code == 2
    for told in (
        "--only model: no cell has 'o5'",
        "use one of 'o3', 'o4'",
        "--only hat: there is no such factor",
        "use one of model, level, heat",
        "--only: 'level' is not FACTOR=VALUE",
        "--type: no task of the plan has type 'c'",
        "--shard: the plan has no shard 'o3.1'",
        "did you mean o3.1.0.00?",
        "--unit: o3.1.0.00 has no task 't9'",
        "--limit: 0 is below 1",
        "--retries: -1 is below 0",
        "--failed: nothing has ended in a run that has not begun",
    ):
        assert told in done.err
    assert not Path("run").exists()
    assert type_(*words, "--only", "model=o4,heat=0").err.startswith("error  --only: no cell has model=o4, heat=0")
    assert "no unit of the plan is all of --type a" in type_(*words, "--type", "a", "--unit", "o3.1.0.00/t1#0").err


def test_a_refused_resume_changes_nothing(plan: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no unit has ended with is told with those there are, and the journal is as it was."""
    monkeypatch.setenv("FAILING", "t0")
    run(plan)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != "lock"}
    done = type_("resume", "run", "--error", "ValeError", "--timeout", "-3")
    assert done.code == 2
    assert "--error: no unit has ended with 'ValeError'" in done.err
    assert "its errors are ValueError (12)" in done.err
    assert "--timeout: '-3' is not above 0" in done.err
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != "lock"}
    assert before == after


def test_keys_are_needed_for_what_is_asked_alone(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane whose shards are left out needs no key."""
    lanes = [{"name": name, "models": [name], "key_env": f"KEY_{name.upper()}"} for name in ("o3", "o4")]
    made = [prealloc.Lane.checked(**lane) for lane in lanes]  # type: ignore[arg-type]
    plan = prealloc.plan("tasks.json", whole=True, factors={"model": ["o3", "o4"]}, lanes=made)  # type: ignore[assignment]
    monkeypatch.setenv("KEY_O3", "x")
    ended = run(plan, only="model=o3")
    assert (len(ran()), ended.exit_code) == (4, 0)
    with pytest.raises(OptionsError, match="KEY_O4"):
        prealloc.resume("run")
    assert prealloc.resume("run", type="a", only="model=o3").exit_code == 0


def test_options_change_from_a_resume_on(plan: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new value is told, recorded, and holds for the resumes that follow; run.json stays as it was written."""
    written = run(plan, limit=1, retries=1) and Path("run/run.json").read_bytes()
    changed = type_("resume", "run", "--limit", "2", "--timeout", "20m", "--retries", "1")
    assert "note: timeout is 20m from here on; it was 10m\n" in changed.out
    assert "retries is" not in changed.out
    monkeypatch.setenv("PREALLOC_WORKERS", "3")
    events: list[Any] = []
    prealloc.resume("run", limit=3, concurrency=4, observe=events.append)
    assert events[0].concurrency == 4
    note = type_("resume", "run", "--limit", "4").out
    assert "note: workers is 3 from here on; it was none\n" in note
    lines = [json.loads(path.read_bytes().split(b"\n")[0]) for path in sorted(Path("run/journal").glob("super*"))]
    assert [line.get("options") for line in lines] == [
        None,
        {"timeout_s": 1200.0},
        {"concurrency": 4, "timeout_s": 1200.0},
        {"concurrency": 4, "workers": 3, "timeout_s": 1200.0},
    ]
    assert Path("run/run.json").read_bytes() == written


def test_a_part_is_a_value() -> None:
    """It is frozen, says what was typed, and refuses what it does not know."""
    part = Part.checked(only=["model=a,b,level=1", {"x": 2}], type=["s t"], error="E", limit=3, failed=True)
    assert part.only == ({"model": "a,b", "level": "1"}, {"x": 2})
    assert part.words() == "--only model=a,b,level=1 --only x=2 --type 's t' --error E --limit 3 --failed"
    assert (Part.checked(failed=True).is_all, part.is_all, Part().words()) == (True, False, "")
    with pytest.raises(OptionsError, match=r"names model twice\n.*\n‹limit›"):
        Part.checked(only="model=a,model=b", limit=True)
