"""Puts a plan together: spec + tasks of every shard -> slices, manifests, `plan.json`, all as bytes in memory.

Pure: the same spec and tasks give the same bytes everywhere, and only `plan.json` knows the library.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import msgspec

from prealloc.files.paths import PlanPaths
from prealloc.model.plan import (
    RANKING,
    LibraryInfo,
    Manifest,
    Plan,
    PlanFile,
    PlanSpec,
    Shard,
    ShardEntry,
    SliceRef,
)
from prealloc.model.task import LightweightTask
from prealloc.store.documents import to_json


def build_plan(
    spec: PlanSpec,
    libraries: Sequence[LibraryInfo],
    shards: Sequence[tuple[str, Sequence[LightweightTask]]],
) -> Plan:
    """The plan in which each named shard holds these tasks, in this order."""
    slices: dict[str, bytes] = {}
    refs: list[SliceRef] = []
    seen: dict[tuple[str, ...], SliceRef] = {}
    for _, tasks in shards:
        ids = tuple(task.id for task in tasks)
        ref = seen.get(ids)  # paired shards hold the same tasks: built and stored once
        if ref is None:
            content = slice_bytes(tasks)
            sha256 = hashlib.sha256(content).hexdigest()
            slices[sha256] = content
            ref = SliceRef(file=PlanPaths.slice_name(sha256), sha256=sha256, tasks=len(tasks), bytes=len(content))
            seen[ids] = ref
        refs.append(ref)
    plan = plan_id(spec, [ref.sha256 for ref in refs])
    built = [
        Shard(
            manifest=Manifest(
                plan=plan,
                id=name,
                cell={},
                lane=None,
                strategy=spec.strategy,
                repeats=spec.repeats,
                seed=spec.seed,
                settings=spec.settings,
                slice=ref,
            ),
            tasks=tuple(tasks),
        )
        for (name, tasks), ref in zip(shards, refs, strict=True)
    ]
    file = PlanFile(
        id=plan,
        spec=spec,
        seed=spec.seed,
        libraries=tuple(libraries),
        shards=tuple(_entry(shard) for shard in built),
    )
    return Plan(file=file, shards=tuple(built), slices=slices)


def plan_id(spec: PlanSpec, slice_digests: Sequence[str]) -> str:
    """The digest of what is run: ranking scheme, spec and slices, by sha256 over their canonical JSON."""
    return hashlib.sha256(msgspec.json.encode([RANKING, spec, slice_digests])).hexdigest()


def slice_bytes(tasks: Sequence[LightweightTask]) -> bytes:
    """A slice as it is stored: a task library of its own, one task a line."""
    return b'{"tasks":[\n' + b",\n".join(map(_task_bytes, tasks)) + b"\n]}\n"


def _task_bytes(task: LightweightTask) -> bytes:
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
