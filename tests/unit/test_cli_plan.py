"""`prealloc plan` as a user types it: what is shipped, what stays behind, and that it says so."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import Type


def test_too_few_tasks_are_refused_with_what_would_fit(type_: Type, library: Path, tmp_path: Path) -> None:
    """Asked for more than there is: the numbers, what would fit, exit code 2, no folder."""
    done = type_("plan", "tasks.json", "--shards", "5", "-n", "3", "--out", "plan")
    assert done.code == 2
    assert "12" in done.err
    assert "15" in done.err
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"num_instances": 5, "stratify": True}),
        (["--all"], {"num_instances": None, "whole": True, "stratify": True}),
        (["--no-stratify"], {"num_instances": 5, "stratify": False}),
        (["--per-type"], {"num_instances": 5, "per_type": True, "stratify": False}),
        (["-n", "3"], {"num_instances": 3, "stratify": True}),
        (["--quota", "a=2"], {"num_instances": None, "quotas": {"a": 2}, "stratify": False}),
        (["--quota", "a=2", "--per-cell"], {"num_instances": None, "quotas": {"a": 2}, "per_cell": True}),
        (["--per-cell"], {"num_instances": None, "num_instances_per_cell": 5, "stratify": True}),
    ],
)
def test_the_command_line_wins_over_the_config(
    type_: Type, library: Path, tmp_path: Path, words: list[str], expected: dict[str, object]
) -> None:
    """What contradicts an option of the command line is left out of the config; flags can be taken back."""
    (tmp_path / "c.toml").write_text('[sampling]\nnum_instances = 5\nstratify = true\ntype = ["a", "b"]\n')
    done = type_("plan", "tasks.json", "--config", "c.toml", *words, "--json")
    assert done.code == 0, done.err
    spec = json.loads(done.out)["plan"]["spec"]
    assert {name: spec[name] for name in expected} == expected


def test_plan_tells_what_it_could_not_do(type_: Type, tmp_path: Path) -> None:
    """A field to keep that some tasks lack, a difficulty without a choice, two ids that differ: a note each."""
    tasks: list[dict[str, Any]] = [
        {"id": f"t{i}", "instance_id": f"t{i % 2}", "type": "a", "workflow": 1} for i in range(4)
    ]
    tasks[2]["some"] = None
    (tmp_path / "x.json").write_text(json.dumps({"tasks": tasks}))
    done = type_("plan", "x.json", "--all", "--keep", "some", "--difficulty", "easy")
    assert done.code == 0
    assert "note: 3 of 4 planned tasks have no field 'some'\n" in done.err
    assert "note: difficulty 'easy' has no effect: x.json is a file\n" in done.err
    assert "note: 2 of 4 tasks have an instance_id that is not their id: the id counts\n" in done.err
    done = type_("plan", "x.js*", "--all", "--difficulty", "easy")
    assert "note: difficulty 'easy' has no effect: x.js* is a pattern\n" in done.err


def test_types_without_a_task_are_told(type_: Type, tmp_path: Path) -> None:
    """Half of the library is one type, 50 types share the rest: about half of the sample each, the missing named."""
    rows = [{"id": f"b{i}", "type": "big", "workflow": 1} for i in range(50)]
    rows += [{"id": f"s{i}", "type": f"small{i:02}", "workflow": 1} for i in range(50)]
    (tmp_path / "many.json").write_text(json.dumps(rows))
    planned = type_("plan", "many.json", "-n", "10", "--stratify", "--json")
    answer = json.loads(planned.out)
    types = answer["plan"]["shards"][0]["types"]
    assert 4 <= types["big"] <= 6
    left = answer["types_left_out"]
    assert len(left) == 51 - len(types)
    assert left[0] == {"type": left[0]["type"], "tasks": 1, "share": 0.01}
    assert f"{len(left)} types get no task; their shares of the library: {left[0]['type']} 1.0%" in planned.err
    older = json.loads(type_("plan", "many.json", "-n", "10", "--stratify", "--ranking", "1", "--json").out)
    assert older["plan"]["shards"][0]["types"] == {"big": 10}
    assert older["plan"]["ranking"] == "blake2b64-splitmix64/1"
    assert type_("plan", "many.json", "--ranking", "3").code == 2


BARE = [
    {"id": f"t{n}", "task_type": "search", "description": f"find {n}", "hint": 1, "inputs": {"q": n}} for n in range(12)
]


WAYS = ["json", "index", "stream", "stdin", "tasks.db", "tasks.parts", "tasks.pool", "tasks.parquet"]


@pytest.fixture(params=WAYS)
def bare(request: pytest.FixtureRequest, type_: Type, tmp_path: Path) -> Iterator[list[str]]:
    """A library without workflows, in every way that one is reached: the words that name it."""
    (tmp_path / "bare.json").write_text(json.dumps(BARE))
    if request.param == "stdin":
        with (tmp_path / "bare.json").open() as file, redirected(file):
            yield ["-"]
        return
    if request.param == "index":
        assert type_("library", "index", "bare.json").code == 0
    if "." in request.param:
        assert type_("library", "convert", "bare.json", request.param).code == 0
    yield [request.param] if "." in request.param else ["bare.json", *(["--stream"] * (request.param == "stream"))]


@contextmanager
def redirected(file: Any) -> Iterator[None]:
    """Standard input is this file."""
    before = os.dup(0)
    os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_tasks_with_nothing_in_them_are_told(type_: Type, tmp_path: Path, bare: list[str]) -> None:
    """The last words are a warning with the fields that stay behind, and a command that ships them, which does."""
    done = type_("plan", *bare, "-n", "6", "--out", "plan")
    assert done.code == 0
    note, warning, command = done.err.splitlines()[-3:]
    assert note == "note: written to plan"
    assert warning == (
        "warning: all 6 planned tasks hold nothing but an id and a type; the library also has "
        "description (up to 8 B), hint (up to 1 B), "
        "inputs (up to 7 B): plan again with "
        "--keep description,hint,inputs, or --keep all for every field"
    )
    assert command.strip() == shlex.join(
        ["prealloc", "plan", *bare, "-n", "6", "--out", "plan", "--keep", "description,hint,inputs", "--force"]
    )
    if bare == ["-"]:
        return  # it was read, and is gone
    again = type_(*shlex.split(command)[1:])
    assert (again.code, "warning" in again.err) == (0, False)
    (kept,) = (tmp_path / "plan" / "slices").iterdir()
    assert sorted(json.loads(kept.read_bytes())["tasks"][0]) == [
        "description",
        "hint",
        "id",
        "inputs",
        "task_type",
        "workflow",
    ]
    told = json.loads(type_("plan", *bare, "-n", "6", "--json").out)["bare"]
    assert (told["tasks"], told["planned"]) == (6, 6)
    sizes = {"tasks": 6, "smallest": 8, "median": 8, "largest": 8, "total": 48}
    assert told["fields"][0] == {"name": "description", **sizes}
    assert json.loads(type_("plan", *bare, "-n", "6", "--keep", "inputs", "--json").out)["bare"] is None


def test_a_field_to_keep_that_no_task_has(type_: Type, tmp_path: Path, bare: list[str]) -> None:
    """Refused with the name that was meant, all such names at once, and nothing is written."""
    done = type_("plan", *bare, "-n", "3", "--keep", "descripton,inputs,zzz", "--out", "plan")
    assert done.code == 2
    assert (
        done.err.endswith(
            "error  --keep descripton: no task of the library has such a field\n"
            "hint   did you mean description?\n"
            "error  --keep zzz: no task of the library has such a field\n"
            "hint   its tasks have description, hint, inputs\n"
        )
        or "did you mean description?" in done.err
    )
    assert "its tasks have description, hint, inputs" in done.err
    assert "--keep inputs" not in done.err
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize("way", ["rare.json", "--stream", "rare.db"])
def test_a_field_that_only_others_have(type_: Type, tmp_path: Path, way: str) -> None:
    """A field that no planned task has, and some other has, is told with the count: it is no slip of the hand."""
    rows = [{"id": f"t{n}", "type": "a", "workflow": n} for n in range(40)]
    (tmp_path / "rare.json").write_text(json.dumps(rows))
    chosen = json.loads(type_("plan", "rare.json", "-n", "3", "--out", "plan", "--json").out)
    assert chosen["bare"] is None
    (slice_file,) = (tmp_path / "plan" / "slices").iterdir()
    taken = {task["id"] for task in json.loads(slice_file.read_bytes())["tasks"]}
    next(row for row in rows if row["id"] not in taken)["rare"] = None
    (tmp_path / "rare.json").write_text(json.dumps(rows))
    if way == "rare.db":
        assert type_("library", "convert", "rare.json", way).code == 0
    words = ["rare.json", way] if way == "--stream" else [way]
    done = type_("plan", *words, "-n", "3", "--keep", "rare")
    assert (done.code, "note: 3 of 3 planned tasks have no field 'rare'\n" in done.err) == (0, True)


def test_some_bare_tasks_are_counted(type_: Type, tmp_path: Path) -> None:
    """Not only where all are; with the option that can say the fields; and none where there are no fields."""
    rows: list[dict[str, Any]] = [{"id": f"t{n}", "task_type": "a", "workflow": n or None} for n in range(3)]
    for more, end in (
        ({}, ", and the library has no other fields of them\n"),
        ({"x": None}, "with --keep x, or --keep all for every field\n    prealloc plan x.json --all --keep x\n"),
        ({"x": 1, "a b": 2}, "with --keep all\n    prealloc plan x.json --all --keep all\n"),
        ({"x": 1, "all": 2}, "with --keep all\n    prealloc plan x.json --all --keep all\n"),
    ):
        rows[0] |= more
        (tmp_path / "x.json").write_text(json.dumps(rows))
        done = type_("plan", "x.json", "--all")
        assert "\nwarning: 1 of 3 planned tasks hold nothing but an id and a type" in done.err
        assert done.err.endswith(end)
        rows[0].pop("x", None)
    assert "warning" not in type_("plan", "x.json", "--all", "--keep", "all").err


@pytest.mark.parametrize("names", [{"id": "a"}, {"id": 7}, {"id": None, "instance_id": "a"}, {"instance_id": 7}])
def test_python_is_told_of_bare_tasks_too(tmp_path: Path, names: dict[str, Any]) -> None:
    """As the last of the notes. The fields that are the id and the type are no further ones, however they are named."""
    from prealloc import plan

    (tmp_path / "x.json").write_text(json.dumps([{**names, "type": "b", "q": 1}]))
    notes: list[str] = []
    plan(tmp_path / "x.json", whole=True, notes=notes.append)
    assert notes[-1].startswith("the only planned task holds nothing but an id and a type; the library also has q (")
    (task,) = plan(tmp_path / "x.json", whole=True, keep="all", notes=notes.append).shards[0].tasks
    assert task.extra == {"q": 1, "type": "b", **{name: names[name] for name in names if name != "id"}}
    assert len(notes) == 3


def test_a_config_keeps_every_field(type_: Type, tmp_path: Path) -> None:
    """`keep = "all"` and a list with it, as on the command line; and what was kept is verified against the library."""
    (tmp_path / "bare.json").write_text(json.dumps(BARE))
    plans = []
    for keep in ('"all"', '["all"]'):
        (tmp_path / "c.toml").write_text(
            f'[library]\npath = "bare.json"\n[sampling]\nkeep = {keep}\n num_instances = 6\n'
        )
        plans.append(json.loads(type_("plan", "--config", "c.toml", "--out", "plan", "--force", "--json").out)["plan"])
    plans.append(json.loads(type_("plan", "bare.json", "-n", "6", "--keep", "all", "--json").out)["plan"])
    assert plans[0]["id"] == plans[1]["id"] == plans[2]["id"]
    assert plans[0]["spec"]["keep"] == ["all"]
    assert type_("verify", "plan", "--library", "bare.json").code == 0
    (tmp_path / "bare.json").write_text(json.dumps([{**task, "inputs": 0} for task in BARE]))
    assert "6 planned tasks are not as planned" in type_("verify", "plan", "--library", "bare.json").err


def test_stats_lists_fields(type_: Type, tmp_path: Path, bare: list[str]) -> None:
    """How many tasks have each, median and largest size; `-` for a workflow that there is not."""
    if bare[0] == "-" or "--stream" in bare:
        return  # stats reads every library as a whole
    shown = type_("library", "stats", *bare).out
    assert [line.split() for line in shown.splitlines()[-7:]] == [
        ["field", "tasks", "median", "largest"],
        ["description", "12", "8", "B", "9", "B"],
        ["hint", "12", "1", "B", "1", "B"],
        ["id", "12", "4", "B", "5", "B"],
        ["inputs", "12", "7", "B", "8", "B"],
        ["task_type", "12", "8", "B", "8", "B"],
        ["workflow", "-", "-", "-"],
    ]
    assert next(line for line in shown.splitlines() if line.startswith("search")).split()[1:] == [
        "12",
        "100%",
        "-",
        "-",
        "-",
        "12",
    ]
    told = json.loads(type_("library", "stats", *bare, "--json", "--sampled", "5").out)
    assert (told["looked_at"], told["types"][0]["looked_at"], told["types"][0]["sizes"]) == (5, 5, None)
    assert {each["name"]: each["tasks"] for each in told["fields"]} == {
        "hint": 5,
        "description": 5,
        "id": 5,
        "inputs": 5,
        "task_type": 5,
    }
    assert "of 5 tasks looked at" in type_("library", "stats", *bare, "--sampled", "5").out


def test_keep_ships_named_fields_to_an_outside_program(type_: Type, library: Path, tmp_path: Path) -> None:
    """--keep puts a field on top in the slice and into task.extra; require= refuses a plan made without it."""
    from prealloc import PlanError, load_shard

    type_("plan", "tasks.json", "-n", "3", "--keep", "d", "--out", "kept")
    type_("plan", "tasks.json", "-n", "3", "--out", "bare")
    shard = load_shard(tmp_path / "kept" / "shards" / "shard-00.json", require=["d"], guard_library=False)
    assert all(isinstance(task.extra["d"], int) for task in shard.tasks)
    grouped = shard.by_type()
    assert sum(map(len, grouped.values())) == 3
    assert all(task["d"] == int(task["id"][1:]) for tasks in grouped.values() for task in tasks)
    with pytest.raises(PlanError, match="‹keep› d"):
        load_shard(tmp_path / "bare" / "shards" / "shard-00.json", require=["d"], guard_library=False)


def test_an_older_runner_finds_its_own_spelling(type_: Type, tmp_path: Path) -> None:
    """--keep instance_id,type ships them beside id and task_type, also where they are the id and the type."""
    from prealloc import load_shard

    one = {"instance_id": "a", "task_type": "t", "type": "old", "workflow": 1}
    two = {"id": "b", "instance_id": ["B", 1.50], "type": "t", "workflow": 2}
    (tmp_path / "x.json").write_text(json.dumps({"tasks": [one, two]}))
    assert type_("plan", "x.json", "--all", "--keep", "instance_id,type", "--out", "plan").code == 0
    shard = load_shard(
        tmp_path / "plan" / "shards" / "shard-00.json",
        require=["id", "type", "workflow", "instance_id"],
        guard_library=False,
    )
    assert sorted(tuple(task.extra.values()) for task in shard.tasks if task.id == "a") == [("a", "old")]
    assert [task.extra for task in shard.tasks if task.id == "b"] == [{"instance_id": ["B", 1.5], "type": "t"}]
    assert type_("verify", "plan", "--library", "x.json").code == 0
    assert type_("plan", "x.json", "--all", "--keep", "id").code == 2


def test_a_library_that_is_not_there_is_told_with_the_options(type_: Type, tmp_path: Path) -> None:
    """Whoever has mistyped both learns it at once."""
    done = type_("plan", str(tmp_path / "nope.json"), "--shards", "0")
    assert done.code == 2
    assert "--shards: 0 is below 1" in done.err
    assert "nope.json does not exist" in " ".join(done.err.split())


def test_a_pattern_stands_in_quotes(type_: Type, tmp_path: Path) -> None:
    """One that the shell has opened is told, with how to write it; one that finds files is there."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "type": "t"}) + "\n")
    opened = type_("plan", "a.jsonl", "b.jsonl", "-n", "1")
    assert opened.code == 2
    assert "LIBRARY: only one is taken, and there is more: b.jsonl" in opened.err
    assert "'data/*.jsonl' is one library" in opened.err
    wrong = type_("plan", "*.jsonl", "-n", "0")
    assert "does not exist" not in wrong.err
    assert type_("plan", "*.jsonl", "-n", "2", "--out", "made").code == 0
    assert type_("verify", "made", "--library", "*.jsonl").code == 0
