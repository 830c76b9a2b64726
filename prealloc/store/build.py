"""Puts a plan together: spec + tasks of every shard -> slices, manifests, `plan.json`, all as bytes in memory.

Pure: the same spec and tasks give the same bytes everywhere, and only `plan.json` knows the library. What is left of a
shard becomes a manifest of its own (`write_rest`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from prealloc.files.atomic import write_file
from prealloc.files.paths import PlanPaths
from prealloc.model.packed_task import PackedTask
from prealloc.model.plan import LibraryInfo, Manifest, Plan, PlanFile, Shard, ShardEntry, SliceRef
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.documents import to_json

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask


class PlannedShard(NamedTuple):
    """What a shard is to be: its name, its tasks in their order, and where and how they run."""

    id: str
    tasks: Sequence[LightweightTask]
    cell: dict[str, Any]
    settings: dict[str, Any]
    """Without those of a lane."""
    lanes: tuple[str, ...] = ()
    """Those that may serve it, first the one that it is dealt to."""

    def __repr__(self) -> str:
        return f"PlannedShard({self.id}: {len(self.tasks)} tasks)"


def build_plan(
    spec: PlanSpec,
    libraries: Sequence[LibraryInfo],
    shards: Sequence[PlannedShard],
    run_options: dict[str, Any] | None = None,
) -> Plan:
    """The plan of these shards."""
    slices: dict[str, bytes] = {}
    refs: list[SliceRef] = []
    seen: dict[tuple[int, ...], SliceRef] = {}
    for shard in shards:
        same = tuple(map(id, shard.tasks))  # paired shards hold the very same tasks: built once
        ref = seen.get(same)
        if ref is None:
            content = slice_bytes(shard.tasks)
            ref = seen[same] = _ref(content, len(shard.tasks))
            slices[ref.sha256] = content
        refs.append(ref)
    plan = plan_id(spec, [ref.sha256 for ref in refs])
    built = [
        Shard(
            manifest=Manifest(
                plan=plan,
                id=shard.id,
                cell=shard.cell,
                lane=None,
                lanes=shard.lanes or msgspec.UNSET,
                strategy=spec.strategy,
                repeats=spec.repeats,
                seed=spec.seed,
                settings=shard.settings,
                slice=ref,
            ),
            tasks=tuple(shard.tasks),
        )
        for shard, ref in zip(shards, refs, strict=True)
    ]
    file = PlanFile(
        id=plan,
        ranking=spec.ranking_name,
        spec=spec,
        seed=spec.seed,
        libraries=tuple(libraries),
        shards=tuple(_entry(shard) for shard in built),
        run_options=run_options or msgspec.UNSET,
    )
    return Plan(file=file, shards=tuple(built), slices=slices)


def plan_id(spec: PlanSpec, slice_digests: Sequence[str]) -> str:
    """The digest of what is run: ranking scheme, spec and slices, by sha256 over their canonical JSON."""
    return hashlib.sha256(msgspec.json.encode([spec.ranking_name, spec, slice_digests])).hexdigest()


def slice_bytes(tasks: Sequence[LightweightTask | PackedTask]) -> bytes:
    """A slice as it is stored: a task library of its own, one task a line."""
    return b'{"tasks":[\n' + b",\n".join(map(_task_bytes, tasks)) + b"\n]}\n"


def write_rest(folder: PlanPaths, manifest: Manifest, tasks: Sequence[PackedTask]) -> Path:
    """Writes a manifest like this one, of these tasks only, and its slice; gives the manifest's path.

    `load_shard` reads it as it reads any other.
    """
    content = slice_bytes(tasks)
    ref = _ref(content, len(tasks))
    path = folder.manifest(manifest.id)
    for target in (path, folder.slice(ref.sha256)):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_file(folder.slice(ref.sha256), content)
    write_file(path, to_json(msgspec.structs.replace(manifest, slice=ref)))
    return path


def _ref(content: bytes, tasks: int) -> SliceRef:
    sha256 = hashlib.sha256(content).hexdigest()
    return SliceRef(file=PlanPaths.slice_name(sha256), sha256=sha256, tasks=tasks, bytes=len(content))


def _task_bytes(task: LightweightTask | PackedTask) -> bytes:
    encode = msgspec.json.encode
    head = b'{"id":%b,"task_type":%b,"workflow":%b' % (encode(task.id), encode(task.type), task.workflow_json)
    extra = task.extra_json[1:-1]
    return head + b"," + extra + b"}" if extra else head + b"}"


def _entry(shard: Shard) -> ShardEntry:
    return ShardEntry(
        id=shard.id,
        file=PlanPaths.manifest_name(shard.id),
        sha256=hashlib.sha256(to_json(shard.manifest)).hexdigest(),
        units=len(shard.tasks) * shard.manifest.repeats,
        types=dict(sorted(Counter(task.type for task in shard.tasks).items())),
    )
