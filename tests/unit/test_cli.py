"""The commands as a user types them: output, exit codes, and that bad input changes nothing."""

from __future__ import annotations

import csv
import importlib.abc
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

from prealloc.cli import main


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Twelve tasks of two types."""
    path = tmp_path / "tasks.json"
    tasks = [{"id": f"t{i}", "type": "ab"[i % 2], "workflow": {"optimal_sequence": ["x"]}, "d": i} for i in range(12)]
    path.write_text(json.dumps({"tasks": tasks}))
    return path


def test_from_a_library_to_results(type_: Type, library: Path, tmp_path: Path) -> None:
    """plan, show, verify, run, status, results: each does its part and exits with 0."""
    assert type_("plan", "tasks.json", "--shards", "2", "-n", "3", "--stratify", "--out", "plan").code == 0
    assert "shard-01" in type_("show", "plan").out
    shown = json.loads(type_("show", "plan", "shard-00", "--json").out)
    assert len(shown["tasks"]) == 3
    assert type_("verify", "plan", "--library", "tasks.json").code == 0
    ran = type_("run", "plan", "--worker", "prealloc.agents.simulate:run", "--out", "run", "--engine", "inline")
    assert ran.code == 0
    assert "library opens by workers" in ran.out
    status = type_("status", "run", "--json")
    assert json.loads(status.out)["census"]["ok"] == 6
    rows = json.loads(type_("results", "run", "--by", "type", "--json").out)
    assert sum(row["units"] for row in rows) == 6
    units = [json.loads(line) for line in type_("results", "run", "--units").out.splitlines()]
    assert all(unit["attempt"]["result"]["calls"] >= 1 for unit in units)


def test_json_is_all_that_json_prints(type_: Type, library: Path) -> None:
    """With --json every line of stdout is JSON, in success and in failure."""
    planned = type_("plan", "tasks.json", "--out", "plan", "-n", "2", "--json")
    assert json.loads(planned.out)["plan"]["spec"]["num_instances"] == 2
    ran = type_(
        "run", "plan", "--worker", "prealloc.agents.simulate:run", "--out", "run", "--engine", "inline", "--json"
    )
    events = [json.loads(line)["event"] for line in ran.out.splitlines()]
    assert events[0] == "run_started"
    assert events[-1] == "run_ended"
    refused = type_("show", "nothing", "--json")
    assert refused.code == 2
    assert json.loads(refused.out)["event"] == "error"


def test_every_command_knows_json(type_: Type, library: Path) -> None:
    """Whatever succeeds with --json prints JSON lines, and nothing else on stdout."""
    worker = ("--worker", "prealloc.agents.simulate:run", "--engine", "inline")
    for words in (
        ("library", "sample", "s.json", "--tasks", "2", "--workflow-bytes", "2000"),
        ("plan", "tasks.json", "-n", "2", "--out", "plan"),
        ("show", "plan"),
        ("show", "plan", "shard-00"),
        ("verify", "plan", "--library", "tasks.json"),
        ("diff", "plan", "plan"),
        ("run", "plan", *worker, "--out", "run"),
        ("resume", "run"),
        ("status", "run"),
        ("results", "run"),
        ("results", "run", "--units"),
    ):
        done = type_(*words, "--json")
        assert done.code == 0, (words, done.err)
        if words[:2] != ("results", "run") or "--units" in words:  # a list over several lines
            assert all(json.loads(line) for line in done.out.splitlines()), words
        else:
            assert json.loads(done.out)


def test_all_mistakes_are_told_at_once_and_nothing_is_written(type_: Type, library: Path, tmp_path: Path) -> None:
    """Mistakes of the command line's form and of its values come in one message, exit code 2."""
    done = type_(
        "plan", "tasks.json", "--shards", "0", "--quota", "a", "--set", "x", "--strategy", "odd", "--out", "plan"
    )
    assert done.code == 2
    for part in ("--shards", "--quota a", "--set x", "--strategy"):
        assert part in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tasks.json"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["-w", "0", "-c", "0", "--drain", "x", "--engine", "foo"], ["workers", "concurrency", "drain", "engine"]),
        (["--engine", "foo", "-c", "0"], ["--worker", "--engine", "--concurrency"]),
        (["--worker", "nosuch:f", "-c", "0"], ["nosuch", "--concurrency"]),
        (["--worker", "nosuch", "--engine", "foo"], ["module:function", "--engine"]),
    ],
)
def test_all_mistakes_of_a_run_are_told_at_once(
    type_: Type, library: Path, tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    """Values, the engine and the worker: one message, exit code 2, no folder."""
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    done = type_("run", "plan", "--out", "run", *words)
    assert done.code == 2
    assert all(part in done.err for part in parts), done.err
    assert not (tmp_path / "run").exists()


def test_too_few_tasks_are_refused_with_what_would_fit(type_: Type, library: Path, tmp_path: Path) -> None:
    """Asked for more than there is: the numbers, what would fit, exit code 2, no folder."""
    done = type_("plan", "tasks.json", "--shards", "5", "-n", "3", "--out", "plan")
    assert done.code == 2
    assert "12" in done.err
    assert "15" in done.err
    assert not (tmp_path / "plan").exists()


def test_a_plan_that_is_there_is_kept_unless_forced(type_: Type, library: Path) -> None:
    """--force replaces the plan, nothing else does."""
    assert type_("plan", "tasks.json", "-n", "2", "--out", "plan").code == 0
    again = type_("plan", "tasks.json", "-n", "3", "--out", "plan")
    assert again.code == 2
    assert "--force" in again.err
    assert type_("plan", "tasks.json", "-n", "3", "--out", "plan", "--force").code == 0
    assert json.loads(type_("show", "plan", "--json").out)["spec"]["num_instances"] == 3


def test_force_never_replaces_a_folder_that_is_no_plan(type_: Type, library: Path, tmp_path: Path) -> None:
    """--force on a folder of the user's own would lose it: refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert type_("plan", "tasks.json", "-n", "2", "--out", "mine", "--force").code == 2
    file = type_("plan", "tasks.json", "-n", "2", "--out", "mine/thesis.txt", "--force")
    assert (file.code, "holds no plan" in file.err) == (2, True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_commands_that_are_named_can_be_pasted(type_: Type, library: Path, tmp_path: Path) -> None:
    """Spaces in a folder's name are quoted in every command that a user is told to type."""
    planned = type_("plan", "tasks.json", "-n", "2", "--out", "my plan")
    assert "prealloc run 'my plan' --worker" in planned.err
    (tmp_path / "unlucky.py").write_text("def f(t, c):\n raise ValueError\n")
    words = ("run", "my plan", "--worker", "unlucky:f", "--engine", "inline", "--out", "my run")
    ran = type_(*words, "--json")
    assert json.loads(ran.out.splitlines()[-1])["resume"] == "prealloc resume 'my run' --failed"
    assert "prealloc resume 'my run'" in type_(*words).err.replace("\n       ", " ")


def test_what_inline_tasks_print_is_in_the_log(type_: Type, library: Path, tmp_path: Path) -> None:
    """stdout is the reporter's: with --json it holds JSON alone."""
    (tmp_path / "loud.py").write_text("import sys\ndef f(t, c):\n print('hello'); print('there', file=sys.stderr)\n")
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    ran = type_("run", "plan", "--worker", "loud:f", "--engine", "inline", "--out", "run", "--json")
    assert all(json.loads(line) for line in ran.out.splitlines())
    assert "there" not in ran.err
    assert (tmp_path / "run" / "logs" / "shard-00.log").read_text() == "hello\nthere\n" * 2


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


def test_units_can_be_listed_as_the_end_says(type_: Type, library: Path, tmp_path: Path) -> None:
    """`results --units --not-ok` lists what is not ok; a first outcome that was opened again stays readable."""
    odd = "int(t.id[1:]) % 2 and (c.attempt == 1 or t.id == 't1')"
    (tmp_path / "halves.py").write_text(f"def f(t, c):\n if {odd}:\n  raise ValueError\n return 1\n")
    type_("plan", "tasks.json", "--all", "--repeats", "5", "--out", "plan")
    ran = type_("run", "plan", "--worker", "halves:f", "--engine", "inline", "--out", "run")
    assert "not ok, the first 20 of 30\n" in ran.out
    assert " prealloc results run --units --not-ok\n" in ran.out
    listed = [json.loads(line) for line in type_("results", "run", "--units", "--not-ok").out.splitlines()]
    assert [(row["status"], row["first"]) for row in listed] == [("failed", None)] * 30
    again = type_("resume", "run", "--failed")
    assert "to go on   prealloc resume run --failed\n" in again.out
    rows = [json.loads(line) for line in type_("results", "run", "--units").out.splitlines()]
    assert all((row["first"]["status"] == "failed") == (int(row["task"][1:]) % 2) for row in rows if row["first"])
    assert sum(row["first"] is not None for row in rows) == 30
    assert type_("results", "run", "--not-ok").code == 2


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
        "description (median 8 bytes, largest 8), hint (median 1 bytes, largest 1), "
        "inputs (median 7 bytes, largest 7): plan again with "
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
    assert told["fields"][0] == {"name": "description", "tasks": 6, "median": 8, "largest": 8}
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


def test_python_is_told_of_bare_tasks_too(tmp_path: Path) -> None:
    """As the last of the notes."""
    from prealloc import plan

    (tmp_path / "x.json").write_text(json.dumps([{"id": "a", "type": "b"}]))
    notes: list[str] = []
    plan(tmp_path / "x.json", whole=True, notes=notes.append)
    assert notes[-1].startswith("all 1 planned tasks hold nothing but an id and a type; the library also has type (")
    assert plan(tmp_path / "x.json", whole=True, keep="all", notes=notes.append).shards[0].tasks[0].extra == {
        "type": "b"
    }
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


def test_a_sample_is_named_for_what_it_holds(type_: Type, tmp_path: Path) -> None:
    """A name that says nothing of the format is refused before anything is written."""
    assert type_("library", "sample", "s.txt", "--tasks", "1").code == 2
    assert not list(tmp_path.iterdir())


def test_a_full_stdout_is_told_not_traced(library: Path, tmp_path: Path) -> None:
    """A device that takes nothing: exit code 3, one line on stderr."""
    command = [sys.executable, "-m", "prealloc", "plan", str(library), "-n", "2"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert "output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_modules_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """130, and no traceback of an import."""

    class Interrupted(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "prealloc.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "prealloc.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main() == 130


def test_force_through_a_link_replaces_the_plan_behind_it(type_: Type, library: Path, tmp_path: Path) -> None:
    """The link stays one, and nothing is left beside either."""
    type_("plan", "tasks.json", "-n", "2", "--out", "real/plan")
    (tmp_path / "link").symlink_to("real/plan")
    assert type_("plan", "tasks.json", "-n", "3", "--out", "link", "--force").code == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads(type_("show", "real/plan", "--json").out)["spec"]["num_instances"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", "tasks.json"]
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["plan"]


@pytest.mark.parametrize(
    ("worker", "part"),
    [
        ("nowhere:run", "no module nowhere"),
        ("prealloc.agents.simulate:runn", "did you mean run"),
        ("prealloc.agents.simulate:time", "not a function"),
        ("prealloc.agents.simulate:tools_of", "cannot be called"),
        ("run", "module:function"),
        ("__main__:run", "__main__"),
    ],
)
def test_a_worker_that_cannot_run_is_refused_before_anything_starts(
    type_: Type, library: Path, tmp_path: Path, worker: str, part: str
) -> None:
    """--worker is checked first: exit code 2, the hint, no run folder."""
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    done = type_("run", "plan", "--worker", worker, "--out", "run")
    assert done.code == 2
    assert part in done.err
    assert not (tmp_path / "run").exists()


def test_diff_tells_ids_that_came_went_and_moved(type_: Type, library: Path) -> None:
    """Exit code 0 for the same plan, 1 for another; the input that changed is named."""
    type_("plan", "tasks.json", "--shards", "2", "-n", "2", "--out", "one")
    type_("plan", "tasks.json", "--shards", "2", "-n", "2", "--out", "same")
    type_("plan", "tasks.json", "--shards", "2", "-n", "4", "--out", "more")
    assert type_("diff", "one", "same").code == 0
    grown = type_("diff", "one", "more", "--json")
    assert grown.code == 1
    found = json.loads(grown.out)
    assert found["inputs"] == {"num_instances": [2, 4]}
    assert len(found["added"]) == 4
    assert found["removed"] == []
    assert found["moved"] == {}


def test_verify_sees_a_task_that_changed_in_the_library(type_: Type, library: Path) -> None:
    """--library compares every planned task; the plan itself stays whole."""
    type_("plan", "tasks.json", "--all", "--out", "plan")
    library.write_text(library.read_text().replace('["x"]', '["y"]', 1))
    assert type_("verify", "plan").code == 0
    done = type_("verify", "plan", "--library", "tasks.json")
    assert done.code == 2
    assert "t0" in done.err


def test_verify_sees_every_edited_file(type_: Type, library: Path, tmp_path: Path) -> None:
    """One byte changed in plan.json's spec, a manifest or a slice is refused, exit code 2."""
    type_("plan", "tasks.json", "-n", "3", "--out", "plan")
    for path in list((tmp_path / "plan").rglob("*.json")):
        good = path.read_bytes()
        path.write_bytes(good.replace(b'"seed": 0', b'"seed": 1').replace(b'["x"]', b'["y"]'))
        assert path.read_bytes() != good
        assert type_("verify", "plan").code == 2, path
        path.write_bytes(good)
    assert type_("verify", "plan").code == 0


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


def test_a_slice_is_itself_a_library(type_: Type, library: Path, tmp_path: Path) -> None:
    """What a manifest points to can be planned from again."""
    type_("plan", "tasks.json", "-n", "5", "--out", "plan")
    (slice_file,) = (tmp_path / "plan" / "slices").iterdir()
    done = type_("plan", str(slice_file), "--all", "--json")
    assert json.loads(done.out)["plan"]["libraries"][0]["tasks"] == 5


def test_sample_writes_a_library_that_plans(type_: Type, tmp_path: Path) -> None:
    """`library sample` makes the five types, and refuses to write over a file."""
    assert type_("library", "sample", "s.json", "--tasks", "63", "--workflow-bytes", "2000").code == 0
    assert type_("library", "sample", "s.json", "--tasks", "63").code == 2
    done = type_("plan", "s.json", "--shards", "3", "-n", "20", "--stratify", "--json")
    assert all(len(entry["types"]) == 5 for entry in json.loads(done.out)["plan"]["shards"])


FAILING = """
def solve(task, ctx):
    if task.id == "t1":
        raise ValueError(f"no luck\\nwith {task.id}")
    return {"success": True, "score": 1}
"""


def test_the_plan_of_a_run_is_found_in_it(type_: Type, library: Path, tmp_path: Path) -> None:
    """show, verify and diff take a run where they take a plan, and say the same of it."""
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    type_("run", "plan", "--worker", "prealloc.agents.simulate:run", "--engine", "inline", "--out", "run")
    assert type_("show", "run", "--json").out == type_("show", "plan", "--json").out
    bound = "\nrun       nothing bounds its time\n"  # the inline engine cannot end a task
    assert type_("show", "run").out == type_("show", "plan").out + bound
    assert type_("show", "run", "shard-00").out == type_("show", "plan", "shard-00").out
    assert type_("verify", "run", "--library", "tasks.json").code == 0
    assert type_("diff", "run", "plan").code == 0


def test_a_unit_is_shown_by_its_id_as_it_is_printed(type_: Type, library: Path, tmp_path: Path) -> None:
    """Each id in `results --units` is taken by `show RUN UNIT`: attempts, error with the traceback's lines, result."""
    (tmp_path / "failing.py").write_text(FAILING)
    type_("plan", "tasks.json", "--all", "--set", "model=m", "--out", "plan")
    type_("run", "plan", "--worker", "failing:solve", "--engine", "inline", "--out", "run")
    type_("resume", "run", "--failed")
    rows = [json.loads(line) for line in type_("results", "run", "--units").out.splitlines()]
    assert len(rows) == 12
    for row in rows:
        shown = type_("show", "run", row["unit"])
        assert shown.code == 0
        assert row["unit"] in shown.out
        assert "model=m" in shown.out
        assert "run/logs/shard-00.log" in shown.out
    failed = type_("show", "run", "shard-00/t1#0").out
    assert "  ValueError: no luck\n  with t1\n" in failed
    assert '\n      raise ValueError(f"no luck' in failed
    assert [line.split()[:3] for line in failed.splitlines() if " failed " in line] == [
        ["1", "1", "failed"],
        ["2", "2", "failed"],
    ]
    found = json.loads(type_("show", "run", "shard-00/t2#0", "--json").out)
    assert [tried["attempt"]["result"]["score"] for tried in found["tries"]] == [1]
    for wrong in ("shard-00/t1", "shard-00/t99#0", "shard-09/t1#0", "/t1#0", "shard-00/t1#00"):
        refused = type_("show", "run", wrong)
        assert (refused.code, "UNIT" in refused.err) == (2, True), wrong


def test_units_as_csv(type_: Type, library: Path, tmp_path: Path) -> None:
    """A row per unit, run or not, with its settings and its error; formats that it has not are refused."""
    (tmp_path / "failing.py").write_text(FAILING)
    type_("plan", "tasks.json", "--all", "--set", "model=m", "--out", "plan")
    type_("run", "plan", "--worker", "failing:solve", "--engine", "inline", "--out", "run")
    rows = list(csv.DictReader(io.StringIO(type_("results", "run", "--units", "--format", "csv").out)))
    assert len({row["unit"] for row in rows}) == 12
    assert {row["settings.model"] for row in rows} == {"m"}
    (bad,) = (row for row in rows if row["status"] != "ok")
    assert (bad["unit"], bad["error_type"], bad["error_message"]) == ("shard-00/t1#0", "ValueError", "no luck\nwith t1")
    only = type_("results", "run", "--units", "--not-ok", "--format", "csv").out
    assert [row["unit"] for row in csv.DictReader(io.StringIO(only))] == ["shard-00/t1#0"]
    assert len(json.loads(type_("results", "run", "--units", "--format", "json").out)) == 12
    refused = type_("results", "run", "--units", "--format", "table", "--by", "type")
    assert refused.code == 2
    assert "--format" in refused.err
    assert "--by" in refused.err


@pytest.mark.parametrize(("given", "workers", "halt_after"), [("2", 2, 3), ("none", None, None)])
def test_numbers_that_may_be_none(
    type_: Type, library: Path, tmp_path: Path, given: str, workers: int | None, halt_after: int | None
) -> None:
    """-w and --halt-after take a number, or none; what is neither is told."""
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    words = ("run", "plan", "--worker", "prealloc.agents.simulate:run", "--engine", "inline", "--out", "run")
    assert type_(*words, "-w", given, "--halt-after", {"2": "3"}.get(given, given)).code == 0
    policy = json.loads((tmp_path / "run" / "run.json").read_text())["policy"]
    assert (policy["workers"], policy["halt_after_infra"]) == (workers, halt_after)
    assert "--workers" in type_(*words, "-w", "many").err
