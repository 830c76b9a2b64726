"""A plan on disk: written whole or not at all, read back with every digest checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import PlanError
from prealloc.files.atomic import new_folder, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import SHARD_ID, PlanPaths
from prealloc.model.plan import Manifest, Plan, PlanFile, Shard, ShardEntry
from prealloc.model.task import LightweightTask
from prealloc.store.build import plan_id
from prealloc.store.documents import parse, read_bytes, to_json

_PLAN_AGAIN = "make it anew with `prealloc plan`, or copy it again from where it was made"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_plan(plan: Plan, out: Path, *, force: bool = False) -> None:
    """Writes the plan folder, whole or not at all.

    Raises PlanError if `out` is taken (unless `force`) or cannot be made, CannotGoOn if the disk is full.
    """
    if not force and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise PlanError("it exists", where=str(out), mend="choose another --out, or replace it with --force")
    if force and out.exists() and any(out.iterdir()) and not PlanPaths(out).plan_file.is_file():
        raise PlanError("it holds no plan, so --force leaves it alone", where=str(out), mend="choose another --out")
    with writing(out, PlanError), new_folder(out, replace=force) as folder:
        fill_plan_folder(plan, folder)


def fill_plan_folder(plan: Plan, folder: Path) -> None:
    """Writes a plan's files into a folder that is there and empty."""
    paths = PlanPaths(folder)
    (folder / "shards").mkdir()
    (folder / "slices").mkdir()
    for sha256, content in plan.slices.items():
        fault_point(Point.PLAN_SLICE)
        paths.slice(sha256).write_bytes(content)
    for shard in plan.shards:
        fault_point(Point.PLAN_MANIFEST)
        paths.manifest(shard.id).write_bytes(to_json(shard.manifest))
    fault_point(Point.PLAN_FILE)
    paths.plan_file.write_bytes(to_json(plan.file))


def read_plan_file(folder: Path) -> PlanFile:
    """`plan.json` of a plan folder, with its shard names and file names checked."""
    path = PlanPaths(folder).plan_file
    if folder.is_file():
        raise PlanError("it is a file", where=str(folder), mend="name the plan's folder")
    raw = read_bytes(path, PlanError, mend="name a folder that `prealloc plan --out` wrote")
    plan = parse(raw, PlanFile, PlanError, where=str(path), mend=_PLAN_AGAIN)
    seen: set[str] = set()
    for entry in plan.shards:
        check_shard_id(entry.id, where=str(path))
        if entry.file != PlanPaths.manifest_name(entry.id) or entry.id in seen:
            raise PlanError(f"shard {entry.id!r} is listed wrongly", where=str(path), mend=_PLAN_AGAIN)
        seen.add(entry.id)
    return plan


def check_shard_id(shard: str, *, where: str) -> None:
    """Raises PlanError unless the id is one that prealloc makes: it becomes part of file names."""
    if not SHARD_ID.fullmatch(shard) or shard.strip(".") == "":
        raise PlanError(f"{shard[:80]!r} is no shard id", where=where, mend=_PLAN_AGAIN)


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """A manifest and the bytes it was read from. The slice it names lies in the same plan folder."""
    raw = read_bytes(path, PlanError, mend="name a file PLAN/shards/SHARD.json of a plan folder")
    manifest = parse(raw, Manifest, PlanError, where=str(path), mend=_PLAN_AGAIN)
    check_shard_id(manifest.id, where=str(path))
    ref = manifest.slice
    if not _SHA256.fullmatch(ref.sha256) or ref.file != PlanPaths.slice_name(ref.sha256):
        # The only name a slice can have; so no manifest can point outside its folder.
        raise PlanError(f"{ref.file[:80]!r} is no slice's name", where=str(path), mend=_PLAN_AGAIN)
    if manifest.repeats < 1:
        raise PlanError(f"repeats is {manifest.repeats}", where=str(path), mend=_PLAN_AGAIN)
    return manifest, raw


def load_shard(path: str | Path, *, require: Iterable[str] = ()) -> Shard:
    """The shard of one manifest file, `plan/shards/<shard>.json`, with its tasks: all a runner needs.

    The slice's size and sha256 are checked. `require` names further task fields that the caller reads
    (they are in `task.extra`): if the plan was made without them, that is refused here, with the mend,
    rather than noticed in the middle of a run. Raises PlanError.
    """
    path = Path(path)
    manifest, _ = read_manifest(path)
    tasks = read_slice(PlanPaths.of_manifest(path), manifest)
    absent = sorted({name for name in require if any(name not in task.extra for task in tasks)})
    if absent:
        raise PlanError(
            f"its tasks lack {', '.join(absent)}",
            where=str(path),
            mend=f"plan again with --keep {','.join(absent)} (and see that every task has them)",
        )
    return Shard(manifest=manifest, tasks=tasks)


def read_slice(paths: PlanPaths, manifest: Manifest) -> tuple[LightweightTask, ...]:
    """The tasks of a manifest's slice. Raises PlanError if a byte of it is not as planned."""
    ref = manifest.slice
    path = paths.slice(ref.sha256)
    raw = read_bytes(path, PlanError, mend=_PLAN_AGAIN)
    if not path.resolve().is_relative_to(paths.root.resolve()):
        raise PlanError("it is a link out of the plan folder", where=str(path), mend=_PLAN_AGAIN)
    if len(raw) != ref.bytes or hashlib.sha256(raw).hexdigest() != ref.sha256:
        raise PlanError(
            "its content is not what was planned: "
            + _told({"bytes": (len(raw), ref.bytes), "sha256": (hashlib.sha256(raw).hexdigest(), ref.sha256)}),
            where=str(path),
            mend=_PLAN_AGAIN,
        )
    try:
        tasks = tuple(parse_slice(raw))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PlanError(f"it is no slice: {error}", where=str(path), mend=_PLAN_AGAIN) from None
    if len(tasks) != ref.tasks or len({task.id for task in tasks}) != len(tasks):
        raise PlanError(
            f"it holds {len(tasks)} tasks, {ref.tasks} different ones were planned",
            where=str(path),
            mend=_PLAN_AGAIN,
        )
    return tasks


class _SliceFile(msgspec.Struct):
    tasks: list[dict[str, msgspec.Raw]]


def parse_slice(raw: bytes) -> Iterator[LightweightTask]:
    """The tasks in a slice's bytes. Workflows stay bytes. Raises ValueError (msgspec's too)."""
    text = msgspec.json.Decoder(str).decode
    for fields in msgspec.json.decode(raw, type=_SliceFile).tasks:
        try:
            id, type, workflow = text(fields.pop("id")), text(fields.pop("task_type")), bytes(fields.pop("workflow"))
        except KeyError as missing:
            raise ValueError(f"a task has no {missing}") from None
        if not (id and type):
            raise ValueError("a task has an empty id or type")
        extra = msgspec.json.encode(dict(sorted(fields.items()))) if fields else b"{}"
        yield LightweightTask.trusted(id, type, workflow, extra)


def read_plan(folder: Path) -> Plan:
    """A whole plan in memory, every digest checked. Raises PlanError."""
    file = read_plan_file(folder)
    paths = PlanPaths(folder)
    manifests = [read_planned_manifest(paths, file, entry) for entry in file.shards]
    check_plan_id(file, manifests, where=str(paths.plan_file))
    shards = tuple(Shard(manifest=manifest, tasks=read_slice(paths, manifest)) for manifest in manifests)
    digests = {manifest.slice.sha256 for manifest in manifests}
    return Plan(file=file, shards=shards, slices={sha256: paths.slice(sha256).read_bytes() for sha256 in digests})


def find_entry(file: PlanFile, shard: str, *, where: str) -> ShardEntry:
    """The line of one shard in plan.json. Raises PlanError if there is no such shard."""
    for entry in file.shards:
        if entry.id == shard:
            return entry
    mend = f"use one of {file.shards[0].id} to {file.shards[-1].id}" if file.shards else _PLAN_AGAIN
    raise PlanError(f"it has no shard {shard[:80]!r}", where=where, mend=mend)


def read_planned_manifest(paths: PlanPaths, file: PlanFile, entry: ShardEntry) -> Manifest:
    """The manifest that plan.json lists: its digest and its plan's id must be those that were planned."""
    path = paths.manifest(entry.id)
    manifest, raw = read_manifest(path)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != entry.sha256 or manifest.plan != file.id or manifest.id != entry.id:
        spec = file.spec
        differences = _told(
            {
                "plan": (manifest.plan, file.id),
                "id": (manifest.id, entry.id),
                "strategy": (manifest.strategy, spec.strategy),
                "repeats": (manifest.repeats, spec.repeats),
                "seed": (manifest.seed, spec.seed),
                "settings": (manifest.settings, spec.settings),
                "units": (manifest.slice.tasks * manifest.repeats, entry.units),
                "sha256": (digest, entry.sha256),
            }
        )
        problem = f"it is not the manifest that was planned: {differences}"
        raise PlanError(problem, where=str(path), mend=_PLAN_AGAIN)
    if manifest.slice.tasks * manifest.repeats != entry.units:
        raise PlanError("its units are not those of plan.json", where=str(path), mend=_PLAN_AGAIN)
    return manifest


def check_plan_id(file: PlanFile, manifests: Sequence[Manifest], *, where: str) -> None:
    """Raises PlanError unless the plan's id is the digest of its spec and its slices."""
    found = plan_id(file.spec, [manifest.slice.sha256 for manifest in manifests])
    if found != file.id:
        problem = f"its id is not that of its spec and slices: {_told({'id': (file.id, found)})}"
        raise PlanError(problem, where=where, mend=_PLAN_AGAIN)


def _told(fields: Mapping[str, tuple[Any, Any]]) -> str:
    """The fields that differ, (as it is, as planned) each, in words."""
    differing = [f"{name} is {_short(is_)}, planned {_short(was)}" for name, (is_, was) in fields.items() if is_ != was]
    return "; ".join(differing)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:12] if _SHA256.fullmatch(text) else f"{text[:60]}..." if len(text) > 60 else text


def task_digest(task: LightweightTask) -> bytes:
    """The sha256 of everything a worker function can see of a task."""
    parts: list[Any] = [task.id, task.type]
    return hashlib.sha256(msgspec.json.encode(parts) + b"\0" + task.workflow_json + b"\0" + task.extra_json).digest()
