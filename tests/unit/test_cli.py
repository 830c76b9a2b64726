"""The commands as a user types them: output, exit codes, and that bad input changes nothing."""

from __future__ import annotations

import importlib.abc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Type

from prealloc.cli import main


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


def test_a_file_that_a_task_leaves_open_is_written(type_: Type, library: Path, tmp_path: Path) -> None:
    """Law: what is in a cycle, as any plot or client is, is let go of as a command that ran user code ends."""
    assert type_("plan", "tasks.json", "-n", "2", "--out", "plan").code == 0
    (tmp_path / "leaving.py").write_text(
        "class Client: pass\nclient = Client()\nclient.itself, client.log = client, open('log', 'w')\n"
        "def solve(task, ctx): client.log.write('.')\n"
    )
    command = [*("run", "plan", "--worker", "leaving:solve", "--engine", "inline", "--out", "run")]
    subprocess.run([sys.executable, "-m", "prealloc", *command], cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "log").read_text() == ".."


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
