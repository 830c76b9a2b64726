"""`prealloc run` as a user types it, and what shows a run's units afterwards."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from command_line import Type


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


def test_what_inline_tasks_print_is_in_the_log(type_: Type, library: Path, tmp_path: Path) -> None:
    """stdout is the reporter's: with --json it holds JSON alone."""
    (tmp_path / "loud.py").write_text("import sys\ndef f(t, c):\n print('hello'); print('there', file=sys.stderr)\n")
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    ran = type_("run", "plan", "--worker", "loud:f", "--engine", "inline", "--out", "run", "--json")
    assert all(json.loads(line) for line in ran.out.splitlines())
    assert "there" not in ran.err
    assert (tmp_path / "run" / "logs" / "shard-00.log").read_text() == "hello\nthere\n" * 2


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


def test_a_folder_whose_name_is_no_text_is_refused(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are given it as text: exit code 2, no traceback, no run folder."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    type_("library", "sample", "t.json", "--tasks", "2")
    type_("plan", "t.json", "-n", "2", "--out", "plan")
    done = type_("run", "plan", "--worker", "prealloc.agents.simulate:run", "--out", "run")
    assert (done.code, not Path("run").exists()) == (2, True), done.err
    assert "that is not UTF-8" in " ".join(done.err.split())


FAILING = """
def solve(task, ctx):
    if task.id == "t1":
        raise ValueError(f"no luck\\nwith {task.id}")
    return {"success": True, "score": 1}
"""


def test_the_plan_of_a_run_is_found_in_it(type_: Type, library: Path, tmp_path: Path) -> None:
    """show, verify and diff take a run where they take a plan, and say the same of it; show tells of the run, too."""
    type_("plan", "tasks.json", "-n", "2", "--out", "plan")
    type_("run", "plan", "--worker", "prealloc.agents.simulate:run", "--engine", "inline", "--out", "run")
    shown, planned = (json.loads(type_("show", each, "--json").out) for each in ("run", "plan"))
    assert shown.pop("run")["plan"] == planned["id"]
    assert shown == planned
    bound = "\nrun       nothing bounds its time\n"  # the inline engine cannot end a task
    of_the_run = f"{bound}worker    prealloc.agents.simulate:run\n"
    assert type_("show", "run").out.startswith(type_("show", "plan").out + of_the_run)
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


def test_a_plan_that_is_not_there_is_told_with_the_options(type_: Type, tmp_path: Path) -> None:
    """Whoever has mistyped both learns it at once; nothing is made."""
    done = type_("run", str(tmp_path / "nope"), "--worker", "nosuch:f", "--out", str(tmp_path / "run"), "-c", "0")
    assert done.code == 2
    assert "--concurrency: 0 is below 1" in done.err
    assert "nope does not exist" in " ".join(done.err.split())
    assert not (tmp_path / "run").exists()
