"""Laws of whole plans: bytes that depend on nothing but ids, types, workflows and spec."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from examples import examples
from prealloc import LightweightTask, load_shard, plan, resume, run
from prealloc.api.plans import diff, verify
from prealloc.model.plan import LibraryInfo, Unit
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.build import PlannedShard, build_plan, slice_bytes
from prealloc.store.documents import to_json
from prealloc.store.plan_folder import read_plan, write_plan
from prealloc.store.slices import parse_slice

GOLDEN = {
    ranking: Path(__file__).parents[1] / "golden" / name
    for ranking, name in {1: "plan_v1", 2: "plan_v1_ranking_2"}.items()
}
"""Plan folders of format version 1, by the version of their ranking."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\é', max_size=3), inner, max_size=3),
    max_leaves=8,
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
tasks = st.builds(
    LightweightTask, id=names, type=names, workflow=json_values, extra=st.dictionaries(st.just("kept"), json_values)
)


def _library(path: Path, rows: list[dict[str, object]], indent: int | None) -> Path:
    path.write_text(json.dumps({"tasks": rows}, indent=indent, ensure_ascii=False))
    return path


def test_another_order_and_another_layout_give_identical_manifests_and_slices(tmp_path: Path) -> None:
    """Law 2: only the libraries block of plan.json may differ, whatever the order and whitespace of the library."""
    rows: list[dict[str, object]] = [
        {"id": f"task {i} é", "task_type": "abc"[i % 3], "workflow": {"n": 1.50, "s": "\u00e9\n", "l": [i, {}]}}
        for i in range(60)
    ]
    shuffled = list(rows)
    random.Random(5).shuffle(shuffled)
    libraries = [_library(tmp_path / "a.json", rows, 2), _library(tmp_path / "b.json", shuffled, None)]
    lines = tmp_path / "c.jsonl"
    lines.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in reversed(rows)))
    made = [plan(each, shards=4, num_instances=6, stratify=True, seed=3) for each in (*libraries, lines)]
    for other in made[1:]:
        assert other.slices == made[0].slices
        assert [to_json(shard.manifest) for shard in other.shards] == [to_json(s.manifest) for s in made[0].shards]
        assert other.id == made[0].id
        assert msgspec.structs.replace(other.file, libraries=made[0].libraries) == made[0].file
        assert other.libraries[0].sha256 != made[0].libraries[0].sha256


@given(tasks)
def test_a_task_survives_the_slice_and_pickling_byte_for_byte(task: LightweightTask) -> None:
    """JSON round trip: what a worker or an outside program reads is what was planned."""
    import pickle

    (packed,) = parse_slice(slice_bytes([task]))
    read = LightweightTask.trusted(*packed)
    assert (read.id, read.type, read.workflow_json) == (task.id, task.type, task.workflow_json)
    assert read.extra == task.extra
    unpickled = pickle.loads(pickle.dumps(task))
    assert unpickled == task
    assert unpickled.workflow == task.workflow


@examples(30, allow=[HealthCheck.function_scoped_fixture])
@given(st.lists(tasks, min_size=1, max_size=6, unique_by=lambda task: task.id), st.integers(1, 3))
def test_a_plan_reads_back_as_it_was_written(
    tmp_path_factory: object, shared: list[LightweightTask], repeats: int
) -> None:
    """Round trip through the disk: same documents, same tasks, and load_shard agrees."""
    folder = tmp_path_factory.mktemp("plan") / "p"  # type: ignore[attr-defined]
    spec = PlanSpec.checked(shards=2, num_instances=len(shared), strategy="paired", repeats=repeats)
    types = {"a": len(shared)}
    info = LibraryInfo(path="/l.json", name="l.json", bytes=1, sha256="0" * 64, tasks=len(shared), types=types)
    made = build_plan(spec, [info], [PlannedShard(name, shared, {}, {}) for name in ("shard-00", "shard-01")])
    write_plan(made, folder)
    read = read_plan(folder)
    assert read.file == made.file
    assert read.slices == made.slices
    assert len(read.slices) == 1  # paired shards share a slice
    for shard in made.shards:
        loaded = load_shard(folder / "shards" / f"{shard.id}.json", guard_library=False)
        assert [task.workflow_json for task in loaded.tasks] == [task.workflow_json for task in shard.tasks]
        assert loaded.manifest == shard.manifest


def golden_plan(folder: Path, ranking: int = 2) -> None:
    """The plan behind the golden files."""
    rows = [
        {"id": f"t{i:02d}", "task_type": ["parse", "fetch", "join"][i % 3], "workflow": {"step": i, "of": [1.0, "é"]}}
        for i in range(24)
    ]
    library = folder / "library.json"
    library.write_text(json.dumps({"tasks": rows}, ensure_ascii=False))
    options: dict[str, Any] = {"shards": 3, "num_instances": 4, "stratify": True, "seed": 7, "settings": {"model": "m"}}
    plan(library, out=folder / "plan", ranking=ranking, unit_seed="shard", **options)


@pytest.mark.parametrize("ranking", GOLDEN)
def test_the_plan_format_is_what_it_was(tmp_path: Path, ranking: int) -> None:
    """Golden: a change of the plan folder's format, of a ranking or of the deal cannot slip in unseen."""
    golden_plan(tmp_path, ranking)
    made = {p.relative_to(tmp_path / "plan").as_posix(): p for p in (tmp_path / "plan").rglob("*.json")}
    kept = {p.relative_to(GOLDEN[ranking]).as_posix(): p for p in GOLDEN[ranking].rglob("*.json")}
    assert made.keys() == kept.keys()
    for name, path in made.items():
        text = path.read_text().replace(str(tmp_path), "FOLDER")
        assert text == kept[name].read_text(), name


def test_a_plan_of_ranking_1_still_verifies_runs_and_resumes(tmp_path: Path) -> None:
    """A plan from before ranking 2, which says nothing of a ranking in its spec, is what it was."""
    kept = tmp_path / "kept"
    shutil.copytree(GOLDEN[1], kept)
    golden_plan(tmp_path)  # for its library
    assert verify(kept, library=tmp_path / "library.json").ranking == "blake2b64-splitmix64/1"
    ended = run(kept, "prealloc.agents.simulate:run", tmp_path / "run", engine="inline")
    assert (ended.exit_code, ended.census["ok"]) == (0, 12)
    assert resume(tmp_path / "run").exit_code == 0
    assert "ranking" in diff(kept, tmp_path / "plan").inputs


def test_every_digest_in_a_plan_is_the_digest_of_its_file(tmp_path: Path) -> None:
    """An outside program can check a plan with sha256 and nothing else."""
    golden_plan(tmp_path)
    folder = tmp_path / "plan"
    document = json.loads((folder / "plan.json").read_text())
    for entry in document["shards"]:
        raw = (folder / entry["file"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == entry["sha256"]
        manifest = json.loads(raw)
        content = (folder / manifest["slice"]["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["slice"]["sha256"]
        assert len(json.loads(content)["tasks"]) * manifest["repeats"] == entry["units"]


@given(st.from_regex(r"[a-z0-9._-]{1,9}", fullmatch=True), st.text("a#/ é\n", min_size=1), st.integers(0, 999_999))
@examples(100)
def test_a_unit_is_read_as_it_is_written(shard: str, task: str, repeat: int) -> None:
    """One spelling, whatever characters a task's id holds: # and / too."""
    unit = Unit(shard, task, repeat)
    assert Unit.parse(str(unit)) == unit
