"""A plan on disk: whole or not at all, and read back only as it was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prealloc.api.plans import verify
from prealloc.errors import CannotGoOn, PlanError, RunFolderError
from prealloc.files import atomic
from prealloc.model.plan import LibraryInfo
from prealloc.model.plan_spec import PlanSpec
from prealloc.store import run_folder
from prealloc.store.build import PlannedShard, build_plan
from prealloc.store.plan_folder import load_shard, read_plan, write_plan
from prealloc.store.run_folder import OpenRun, RunFile, create_run, plan_digests
from prealloc.testing import make_plan, make_task

PLAN = make_plan([make_task(f"t{n}", workflow={"n": n}, extra={"kept": n}) for n in range(4)], shards=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_plan(PLAN, tmp_path / "plan")
    return tmp_path / "plan"


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def test_read_back_it_is_the_same(folder: Path) -> None:
    """Byte by byte, and as objects."""
    again = read_plan(folder)
    assert again.id == PLAN.id
    assert again.slices == PLAN.slices
    assert [task.workflow for task in again.shards[1].tasks] == [{"n": 1}, {"n": 3}]
    assert load_shard(folder / "shards" / "shard-00.json", require=["kept"]).tasks[1].extra == {"kept": 2}


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "newer version": lambda d: d.update(version=2),
    "another format": lambda d: d.update(format="tar"),
    "unknown field": lambda d: d.update(more=1),
    "field gone": lambda d: d.pop("seed"),
    "wrong type": lambda d: d.update(repeats="many"),
    "no repeats": lambda d: d.update(repeats=0),
    "other repeats": lambda d: d.update(repeats=2),
    "other settings": lambda d: d.update(settings={"a": 1}),
    "id leads out": lambda d: d.update(id="../../etc"),
    "id of dots": lambda d: d.update(id=".."),
    "id in capitals": lambda d: d.update(id="SHARD-00"),
    "id with NUL": lambda d: d.update(id="a\0b"),
    "slice leads out": lambda d: d["slice"].update(file="../../../etc/passwd"),
    "slice absolute": lambda d: d["slice"].update(file="/etc/passwd"),
    "slice of another digest": lambda d: d["slice"].update(sha256="0" * 64),
    "fewer tasks": lambda d: d["slice"].update(tasks=1),
    "fewer bytes": lambda d: d["slice"].update(bytes=1),
}


@pytest.mark.parametrize("how", EDITS)
def test_an_edited_manifest_is_refused(folder: Path, how: str) -> None:
    """Row 26: by its digest at least, naming the file and the hint."""
    edit(folder / "shards" / "shard-00.json", EDITS[how])
    with pytest.raises(PlanError) as caught:
        read_plan(folder)
    assert caught.value.where
    assert caught.value.hint


@pytest.mark.parametrize("how", [name for name in EDITS if name not in ("other repeats", "other settings")])
def test_an_edited_manifest_alone_is_refused(folder: Path, how: str) -> None:
    """Also where nothing but the manifest and its slice are there to go by (`load_shard`)."""
    edit(folder / "shards" / "shard-00.json", EDITS[how])
    with pytest.raises(PlanError):
        load_shard(folder / "shards" / "shard-00.json")


PLAN_EDITS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "other seed": lambda plan, manifest: plan.update(seed=99),
    "other ranking": lambda plan, manifest: plan.update(ranking="other/9"),
    "other types": lambda plan, manifest: plan["shards"][0]["types"].update(simple_task=1),
    "other tasks of the library": lambda plan, manifest: plan["libraries"][0].update(tasks=7),
    "seed of the manifest": lambda plan, manifest: manifest.update(seed=5),
    "strategy of the manifest": lambda plan, manifest: manifest.update(strategy="paired"),
    "settings of the manifest": lambda plan, manifest: manifest.update(settings={"a": 1.0}),
}


@pytest.mark.parametrize("how", PLAN_EDITS)
def test_what_a_plan_says_twice_must_agree(tmp_path: Path, how: str) -> None:
    """Also where every digest was made to fit: the id covers spec and slices, and the rest follows from them."""
    info = LibraryInfo(path="x", name="x", bytes=1, sha256="0" * 64, tasks=4, types={"simple_task": 4})
    spec = PlanSpec.checked(whole=True, settings={"a": 1})
    folder = tmp_path / "plan"
    shard = PlannedShard("shard-00", [make_task(f"t{n}") for n in range(4)], {}, spec.settings)
    write_plan(build_plan(spec, [info], [shard]), folder)
    read_plan(folder)
    plan = json.loads((folder / "plan.json").read_bytes())
    manifest = json.loads((folder / "shards" / "shard-00.json").read_bytes())
    PLAN_EDITS[how](plan, manifest)
    raw = json.dumps(manifest).encode()
    (folder / "shards" / "shard-00.json").write_bytes(raw)
    plan["shards"][0]["sha256"] = hashlib.sha256(raw).hexdigest()
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(PlanError):
        read_plan(folder)


@pytest.mark.parametrize("name", ["shards/shard-02.json", "slices/.backup", "slices/more"])
def test_verify_sees_files_that_were_not_planned(folder: Path, name: str) -> None:
    """What lies among a plan's files would be copied with it; what a user puts beside them is not looked at."""
    (folder / "notes.txt").write_text("mine")
    assert verify(folder).id == PLAN.id
    (folder / name).write_text("")
    with pytest.raises(PlanError, match=r"not planned: .*" + name):
        verify(folder)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b'{"a":1,"a":2}', b"[" * 100_000, b"{}" * 2, b'{"version":1e999}'],
    ids=repr,
)
@pytest.mark.parametrize("name", ["plan.json", "shards/shard-00.json"])
def test_rubbish_is_refused(folder: Path, name: str, raw: bytes) -> None:
    """Row 26: a typed error, whatever the file holds."""
    (folder / name).write_bytes(raw[:200_000])
    with pytest.raises(PlanError):
        read_plan(folder)


@pytest.mark.parametrize("name", ["plan.json", "shards/shard-00.json"])
def test_no_file_at_all(folder: Path, name: str) -> None:
    """A folder or a FIFO in its place does not hang and does not help."""
    (folder / name).unlink()
    for make in (lambda path: None, Path.mkdir, os.mkfifo):
        make(folder / name)  # type: ignore[operator]
        with pytest.raises(PlanError):
            read_plan(folder)
        if (folder / name).is_dir():
            (folder / name).rmdir()


def test_a_slice_is_checked_by_its_bytes(folder: Path) -> None:
    """One changed byte; and a link that leads out of the plan folder, be the bytes right."""
    path = next((folder / "slices").iterdir())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"n":', b'"m":', 1))
    with pytest.raises(PlanError, match="not what was planned"):
        read_plan(folder)
    (folder.parent / "outside").write_bytes(raw)
    path.unlink()
    path.symlink_to(folder.parent / "outside")
    with pytest.raises(PlanError, match="link that leads out of the folder"):
        read_plan(folder)


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves nothing beside, and with --force the old plan as it was."""
    write_plan(PLAN, tmp_path / "plan")
    before = sorted(tmp_path.rglob("*"))
    other = make_plan(9)

    def fail(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(CannotGoOn, match="No space"):
        write_plan(other, tmp_path / "plan", force=True)
    with pytest.raises(CannotGoOn, match="No space"):
        write_plan(other, tmp_path / "new")
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == before
    assert read_plan(tmp_path / "plan").id == PLAN.id


def test_force_replaces_plans_only(tmp_path: Path) -> None:
    """A folder that holds anything else is left alone."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    with pytest.raises(PlanError, match="holds no plan"):
        write_plan(PLAN, tmp_path / "mine", force=True)
    with pytest.raises(PlanError, match="it exists"):
        write_plan(PLAN, tmp_path / "mine")
    write_plan(PLAN, tmp_path / "plan")
    write_plan(make_plan(3), tmp_path / "plan", force=True)
    assert len(read_plan(tmp_path / "plan").shards) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "plan"]


STRANGERS = ["notes.txt", ".hidden", "run/", "shards/mine.json", "shards/deep/", "slices/mine.json", "slices/link"]


def test_force_takes_nothing_along(tmp_path: Path) -> None:
    """Whatever in a plan's folder is no part of the plan: all of it is named, and nothing is changed."""
    plan = tmp_path / "plan"
    write_plan(PLAN, plan)
    create_run(tmp_path / "run", plan, run_file())
    (tmp_path / "run").rename(plan / "run")  # as runs were once made
    for name in STRANGERS:
        path = plan / name
        if name == "slices/link":
            path.symlink_to(next((plan / "slices").iterdir()))
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PlanError) as caught:
        write_plan(make_plan(3), plan, force=True)
    assert caught.value.problem.endswith(f"leaves it alone: {', '.join(sorted(STRANGERS))}")
    assert sorted(tmp_path.rglob("*")) == before
    assert read_plan(plan).id == PLAN.id
    for number in range(12):
        (plan / f"a{number:02}").write_text("")
    with pytest.raises(PlanError, match=r"a00, .* and 9 more"):
        write_plan(make_plan(3), plan, force=True)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": "my.plan", "shards": []}', b'{"format": "prealloc.plan"}'])
def test_force_needs_to_know_the_plan(folder: Path, damage: bytes) -> None:
    """Where plan.json does not say which files are the plan's, nobody can tell them from the user's."""
    (folder / "plan.json").write_bytes(damage)
    before = sorted(folder.rglob("*"))
    with pytest.raises(PlanError, match="‹force› leaves them alone"):
        write_plan(PLAN, folder, force=True)
    assert sorted(folder.rglob("*")) == before


def test_force_looks_again_in_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes into the folder while the new plan is written is not taken along either."""
    plan = tmp_path / "plan"
    write_plan(PLAN, plan)

    def fill(made: object, folder: Path) -> None:
        (plan / "notes.txt").write_text("mine")

    monkeypatch.setattr("prealloc.store.plan_folder.fill_plan_folder", fill)
    with pytest.raises(PlanError, match=r"notes\.txt"):
        write_plan(make_plan(3), plan, force=True)
    assert (plan / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_signal_between_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, is_done: bool) -> None:
    """Where folders cannot be exchanged in one step: the old one or the new one is in its place, and nothing aside."""
    write_plan(PLAN, tmp_path / "plan")
    calls: list[object] = []
    rename = os.rename

    def interrupted(one: Path, other: Path) -> None:
        calls.append(one)
        if len(calls) != at or is_done:
            rename(one, other)
        if len(calls) == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "exchange_in_one_step", lambda one, other: False)
    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_plan(make_plan(3), tmp_path / "plan", force=True)
    assert len(read_plan(tmp_path / "plan").shards) in (1, 2)
    if (at, is_done) != (3, False):  # the putting away itself was stopped
        assert [path.name for path in tmp_path.iterdir()] == ["plan"]


@pytest.mark.parametrize("inside", ["plan/run", "plan/shards/a/run", "link/run", "plan/../plan/run", "run/plan/more"])
def test_nothing_is_made_inside_a_plan_or_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    """By whichever path: a run in its plan would be lost with it, a plan in a run would be no run's."""
    monkeypatch.chdir(tmp_path)
    write_plan(PLAN, Path("plan"))
    create_run(Path("run"), PLAN, run_file())
    Path("link").symlink_to("plan")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunFolderError, match=r"it would be inside the (plan|run) /"):
        create_run(Path(inside), PLAN, run_file())
    with pytest.raises(PlanError, match=r"it would be inside the (plan|run) /"):
        write_plan(PLAN, Path(inside))
    with pytest.raises(PlanError, match="it would be inside the run /"):
        write_plan(PLAN, Path("run/plan"), force=True)  # of the run's own copy nothing but a plan
    assert sorted(tmp_path.rglob("*")) == before
    create_run(Path("runs/plan"), PLAN, run_file())  # beside it


def run_file(**changes: Any) -> RunFile:
    from prealloc.model.policy import RunPolicy

    fields = {
        "plan": PLAN.id,
        "plan_digests": plan_digests(PLAN.file),
        "worker": "m:f",
        "import_path": (),
        "engine": "inline",
        "policy": RunPolicy(),
    }
    return RunFile(**fields, created_at="", prealloc="", python="", platform="", **changes)  # type: ignore[arg-type]


def test_two_runs_that_meet_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 16: the one that comes second by a moment, after all checks, is refused as RunFolderError too."""
    create_run(tmp_path / "run", PLAN, run_file())
    monkeypatch.setattr(run_folder, "refuse_taken", lambda out: None)  # it looked a moment too early
    with pytest.raises(RunFolderError):
        create_run(tmp_path / "run", PLAN, run_file())
    assert OpenRun(tmp_path / "run").plan.id == PLAN.id
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Exit code 2, not a traceback, where --out leads through a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError):
        create_run(tmp_path / "file" / "run", PLAN, run_file())
