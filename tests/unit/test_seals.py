"""Seals: whoever edits a run's journal after its end is noticed, and what no seal covers is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Type

import prealloc
from prealloc.files.paths import RunPaths
from prealloc.store.seals import RunSeals


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> object:
    if ctx.attempt == 1 and task.id == "t1":
        raise ValueError("at first")
    return {"success": task.id != "t0"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tasks = [{"id": f"t{n}", "type": "x", "workflow": {}} for n in range(6)]
    prealloc.run(prealloc.plan(tasks, shards=2, whole=True), solve, tmp_path / "run", engine="inline")
    return tmp_path / "run"


def check(run: Path) -> RunSeals:
    (found,) = prealloc.check_seals(run)
    return found


def files(run: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted((run / "journal").iterdir())}


def test_a_run_that_nobody_touched(run: Path) -> None:
    """All files are sealed, and hold, after one session and after the next; only the last lines themselves are open."""
    for _ in range(2):
        found = check(run)
        assert found.edited == []
        assert (found.sealed, found.running) == (len(files(run)) + 1, False)
        assert len(found.not_sealed) == 1
        assert found.not_sealed[0].startswith(f"journal/{max(files(run))}: its last ")
        prealloc.resume(run, failed=True)
    assert sum(b'"success":true' in path.read_bytes() for path in files(run).values()) > 1


def flipped(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"success":false', b'"success":true ', 1))


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[-1])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (flipped, "bytes are not those that were sealed"),
        (cut, "bytes, and "),
        (grown, "lines were added after its session was sealed"),
        (Path.unlink, "it is gone"),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_an_edit_names_its_file(run: Path, edit: Callable[[Path], None], said: str, resumed: bool) -> None:
    """A result that was flipped, a line less or more, a file that is gone; no later session hides it."""
    (path,) = (path for path in files(run).values() if b'"success":false' in path.read_bytes())
    edit(path)
    if resumed:
        prealloc.resume(run, failed=True)
    (problem,) = check(run).edited
    assert problem.startswith(f"journal/{path.name}: ")
    assert said in problem


def test_the_command(run: Path, type_: Type) -> None:
    """`prealloc verify RUN` ends with 1 and names the file, in words and in JSON."""
    done = type_("verify", str(run))
    assert done.code == 0
    assert "as they were when sealed" in done.out
    assert "seals detect edits, not forgery" in done.out
    path = next(path for path in files(run).values() if b'"success":false' in path.read_bytes())
    flipped(path)
    done = type_("verify", str(run))
    assert done.code == 1
    assert f"edited     journal/{path.name}: its first" in done.out
    told = json.loads(type_("verify", str(run), "--json").out)
    assert told["ok"] is False
    assert told["seals"][0]["edited"] == check(run).edited


def test_a_file_that_was_added(run: Path) -> None:
    """A session's end has sealed all of its files: one more was made by somebody else."""
    path = next(path for path in files(run).values() if b'"success":false' in path.read_bytes())
    shard, session, _, suffix = path.name.rsplit(".", 3)
    added = path.with_name(f"{shard}.{session}.0009.{suffix}")
    added.write_bytes(path.read_bytes())
    assert check(run).edited == [f"journal/{added.name}: it was added after its session was sealed"]


def test_run_json_is_sealed_too(run: Path) -> None:
    """Who has run what is part of the record."""
    path = RunPaths(run).run_file
    path.write_text(path.read_text().replace(":solve", ":other"))
    assert [text.partition(":")[0] for text in check(run).edited] == ["run.json"]


def test_what_a_killed_session_has_left_is_sealed_by_the_next(run: Path) -> None:
    """Its whole lines: those that were cut are not, and a session's start seals before anything is written behind."""
    last = files(run)[max(files(run))]
    lines = last.read_bytes().splitlines(keepends=True)
    seals = [number for number, line in enumerate(lines) if b'"kind":"sealed"' in line]
    last.write_bytes(b"".join(lines[: seals[0]]) + b'{"kind":"sess')  # as if it had been killed before it sealed
    assert check(run).sealed == 0
    prealloc.resume(run, failed=True)
    assert check(run).edited == []
    sealing = next(path for name, path in files(run).items() if name == max(files(run)))
    first, second, *_ = sealing.read_bytes().splitlines()
    assert (json.loads(first)["kind"], json.loads(second)["kind"]) == ("session", "sealed")
    sealed = {each["file"]: each["bytes"] for each in json.loads(second)["files"]}
    assert sealed[f"journal/{last.name}"] == sum(map(len, lines[: seals[0]]))
