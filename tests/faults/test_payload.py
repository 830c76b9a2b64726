"""Shipping: a worker gets its slice in its arguments, and nothing else, and nowhere else."""

from __future__ import annotations

import json
import pickletools
import re
from pathlib import Path
from typing import Any

import pytest
from harness import Stage

from prealloc.api.plans import plan
from prealloc.api.runs import run
from prealloc.engines import local

pytestmark = [pytest.mark.fault, pytest.mark.fresh]

SHARDS, TASKS, WORKFLOW_BYTES = 25, 20, 47_000
OWN_ID = rb"benchmark-task-\d{4}"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan like the reference one: 25 x 20 tasks with 47 KB of workflow each, of a library of 520."""
    root = tmp_path_factory.mktemp("reference")
    rows = [
        {
            "id": f"benchmark-task-{number:04}",
            "task_type": ("data_pipeline", "api_integration")[number % 2],
            "workflow": {"secret_of": f"task {number:04}", "pad": f"{number:04}" * (WORKFLOW_BYTES // 4)},
            "description": "not shipped",
        }
        for number in range(520)
    ]
    (root / "the-library.json").write_text(json.dumps({"tasks": rows}))
    plan(root / "the-library.json", out=root / "plan", shards=SHARDS, num_instances=TASKS, settings={"a": 1})
    return root


def payloads(reference: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """What the local engine ships to the workers of each shard in a whole run: most often one takes all its units."""
    packed: dict[str, list[bytes]] = {}
    pack = local.pack

    def note(job: Any) -> bytes:
        payload = pack(job)
        packed.setdefault(job.shard, []).append(payload)
        return payload

    monkeypatch.setattr(local, "pack", note)
    ended = run(reference / "plan", "prealloc.agents.simulate:run", out, workers=SHARDS)
    assert ended.exit_code == 0
    return packed


def test_the_payload_is_the_slice_and_nothing_else(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 2 % of the slice's bytes; no other shard's ids, no field that was not asked for, no library path."""
    packed = payloads(reference, tmp_path / "run", monkeypatch)
    slices: dict[str, bytes] = {}
    for path in sorted((reference / "plan" / "shards").iterdir()):
        manifest = json.loads(path.read_bytes())
        slices[manifest["id"]] = (reference / "plan" / manifest["slice"]["file"]).read_bytes()
    assert packed.keys() == slices.keys()
    ids = {shard: {task["id"] for task in json.loads(content)["tasks"]} for shard, content in slices.items()}
    for shard, (first, *moved) in packed.items():
        assert abs(len(first) - len(slices[shard])) <= 0.02 * len(slices[shard])
        assert {found.decode() for found in re.findall(OWN_ID, first)} == ids[shard]
        assert all(len(payload) < len(first) for payload in moved)
    for shard, payload in [(shard, payload) for shard, sent in packed.items() for payload in sent]:
        assert b"the-library" not in payload
        assert str(reference).encode() not in payload
        assert b"not shipped" not in payload
        assert {found.decode() for found in re.findall(OWN_ID, payload)} <= ids[shard]
        # Tasks travel as their bytes: no decoded workflow, and little beside the texts.
        count = sum(1 for _ in pickletools.genops(payload))
        assert count < 60 * TASKS


def test_nothing_of_it_is_in_argv_or_environ(stage: Stage) -> None:
    """Seen in /proc while it runs: no id, no workflow, no setting, no path of the library."""
    stage.make_plan(
        {f"very-special-id-{n}": {"do": "gate", "secret": "special-workflow"} for n in range(4)},
        shards=4,
        padding=1000,
        settings={"model": "special-model"},
    )
    session = stage.start()
    session.wait_for("shard_started", 4)
    workers = {event["pid"] for event in session.of("shard_started")}
    alive = stage.alive()
    assert workers <= alive.keys()
    for pid in alive.keys() - {session.process.pid}:
        seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        for secret in (b"special-id", b"special-workflow", b"special-model", b"library.json", b"xxxxxxxx"):
            assert secret not in seen, f"{secret!r} in {pid}"
    stage.let_go()
    assert session.wait() == 0
    # And no file of the run folder but the plan's copy holds what was shipped: payloads have no name.
    left = [path for path in stage.run.rglob("*") if path.is_file() and b"special-workflow" in path.read_bytes()]
    assert all(path.is_relative_to(stage.run / "plan") for path in left)
    stage.check(session)
