"""A plan on disk: written whole or not at all, read back with every digest checked."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from prealloc.errors import InputError, PlanError
from prealloc.files.atomic import is_taken, link_or_copy, new_folder, refuse_strangers, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import PlanPaths, RunPaths, readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.model.plan import Plan, Shard, ShardEntry, SliceRef
from prealloc.model.spelling import IN_EVERY_SLICE
from prealloc.model.words import brief, listed
from prealloc.store.documents import read_bytes, to_json
from prealloc.store.manifests import (
    Outline,
    chosen,
    read_manifest,
    read_outline,
    read_plan_file,
    read_planned_manifest,
)
from prealloc.store.slices import PLAN_AGAIN, Names, Slice

_SLICE = re.compile(r"slices/[0-9a-f]{64}\.json")


def write_plan(plan: Plan, out: str | Path, *, force: bool = False) -> None:
    """Writes the plan folder, whole or not at all.

    Raises PlanError if `out` is taken (unless `force`, and it is a plan and nothing else), lies in another plan or in
    a run, or cannot be made; CannotGoOn if the disk is full.
    """
    out = Path(out)
    refuse_taken_plan(out, force=force)
    with writing(out, PlanError), new_folder(out, replace=_refuse_no_plan if force else None) as folder:
        fill_plan_folder(plan, folder)


def refuse_taken_plan(out: Path, *, force: bool = False) -> None:
    """Raises PlanError if a plan cannot go to `out`."""
    with writing(out, PlanError):
        refuse_inside(out, PlanError)
        if is_taken(out) and not force:
            raise PlanError("it exists", where=str(out), hint="choose another ‹out›, or replace it with ‹force›")
        if is_taken(out):
            _refuse_no_plan(out)


def refuse_inside(out: Path, refuse: type[InputError]) -> None:
    """Raises `refuse` if a folder above `out` is a plan or a run: what is replaced or moved there takes it along."""
    for above in Path(os.path.realpath(out)).parents:
        plan, run = PlanPaths(above), RunPaths(above)
        is_plan = plan.plan_file.is_file() and plan.slices.is_dir()
        if is_plan or (run.run_file.is_file() and run.journal.is_dir()):
            problem = f"it would be inside the {'plan' if is_plan else 'run'} {readable_name(str(above))}"
            raise refuse(problem, where=str(out), hint="name a folder beside that one")


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    """Enough of `plan.json` to know a plan's files by; nothing else need be right in what is to be replaced."""

    format: Literal["prealloc.plan"]
    shards: list[_Listed]


def _refuse_no_plan(folder: Path) -> None:
    """Raises PlanError unless a folder is a plan and nothing else, so that replacing it loses nothing of the user's."""
    file = PlanPaths(folder).plan_file
    if not os.path.isfile(file):
        raise PlanError("it holds no plan, so ‹force› leaves it alone", where=str(folder), hint="choose another ‹out›")
    hint = "look at what is in this folder and remove it yourself, or choose another ‹out›"
    raw = read_bytes(file, PlanError, inside=folder, hint=hint)
    try:
        listing = msgspec.json.decode(raw, type=_Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"it does not say which files belong to the plan, so ‹force› leaves them alone: {brief(error)}"
        raise PlanError(problem, where=str(file), hint=hint) from None
    own = {"plan.json", "shards/", "slices/", *(PlanPaths.manifest_name(shard.id) for shard in listing.shards)}
    refuse_strangers(folder, lambda name: name in own or _SLICE.fullmatch(name) is not None, PlanError, "plan")


def fill_plan_folder(plan: Plan, folder: Path) -> None:
    """Writes a plan's files into a folder that is there and empty."""
    paths = PlanPaths(folder)
    (folder / "shards").mkdir()
    paths.slices.mkdir()
    for sha256, content in plan.slices.items():
        fault_point(Point.PLAN_SLICE)
        paths.slice(sha256).write_bytes(content)
    for shard in plan.shards:
        fault_point(Point.PLAN_MANIFEST)
        paths.manifest(shard.id).write_bytes(to_json(shard.manifest))
    fault_point(Point.PLAN_FILE)
    paths.plan_file.write_bytes(to_json(plan.file))


def load_shard(path: str | Path, *, require: Iterable[str] = ()) -> Shard:
    """The shard of one manifest file, `plan/shards/<shard>.json`, with its tasks: all a runner needs.

    The slice's size and sha256 are checked. `require` names the task fields that the caller reads (further ones
    are in `task.extra`): if the plan was made without them, that is refused here, with the hint,
    rather than noticed in the middle of a run.

    Its settings have the values of its lane: the one that `prealloc run` has chosen, else the one that the plan deals
    it to; for that the plan.json beside it is read. Raises PlanError.
    """
    path = Path(path)
    manifest, _ = read_manifest(path)
    paths = PlanPaths.of_manifest(path)
    if manifest.lane != manifest.planned_lane:
        manifest = chosen(manifest, read_plan_file(paths.root).spec, manifest.planned_lane)
    tasks = Slice(paths, manifest.slice).tasks()
    further = set(require) - IN_EVERY_SLICE - {"type"}  # which every task has as an attribute
    absent = sorted({name for name in further if any(name not in task.extra for task in tasks)})
    if absent:
        hint = f"plan again with ‹keep› {','.join(absent)} (and check that every task has them)"
        raise PlanError(f"its tasks lack {', '.join(absent)}", where=str(path), hint=hint)
    return Shard(manifest=manifest, tasks=tasks)


def check_slices(folder: Path, outline: Outline) -> dict[SliceRef, Names]:
    """The names of every slice, each read once. Workflows are not decoded.

    Raises PlanError unless every byte is as planned, and the tasks are what plan.json says.
    """
    paths = PlanPaths(folder)
    names: dict[SliceRef, Names] = {}  # paired shards share a slice
    for entry, manifest in zip(outline.file.shards, outline.manifests.values(), strict=True):
        if manifest.slice not in names:
            names[manifest.slice] = Slice(paths, manifest.slice).checked().names()
        _check_types(entry, names[manifest.slice].by_type(), where=str(paths.plan_file))
    return names


def _check_types(entry: ShardEntry, types: Counter[str], *, where: str) -> None:
    if entry.types != types:
        raise PlanError(f"the types of shard {entry.id} are not those of its tasks", where=where, hint=PLAN_AGAIN)


def read_plan(folder: Path) -> Plan:
    """A whole plan in memory, every digest checked. Raises PlanError."""
    file, manifests = read_outline(folder)
    paths = PlanPaths(folder)
    slices = {manifest.slice: Slice(paths, manifest.slice) for manifest in manifests.values()}
    tasks = {ref: each.tasks() for ref, each in slices.items()}
    shards = tuple(Shard(manifest=manifest, tasks=tasks[manifest.slice]) for manifest in manifests.values())
    for entry, shard in zip(file.shards, shards, strict=True):
        _check_types(entry, Counter(task.type for task in shard.tasks), where=str(paths.plan_file))
    return Plan(file=file, shards=shards, slices={ref.sha256: each.raw for ref, each in slices.items()})


def check_strict(folder: Path, plan: Plan) -> None:
    """Raises PlanError unless every slice is strict JSON to the bottom of its workflows.

    read_plan leaves this out: the digests show that the bytes are those that were planned, and a planner of ours
    writes nothing else.
    """
    for sha256, raw in plan.slices.items():
        try:
            compact(raw)
        except StrictJsonError as error:
            where = str(PlanPaths(folder).slice(sha256))
            raise PlanError(f"it is not strict JSON: {error}", where=where, hint=PLAN_AGAIN) from None


def copy_plan(source: Path, target: Path) -> None:
    """Copies a plan's files, and nothing else that may lie beside them, into the new folder `target`.

    Hard links where possible, since plans are never changed in place. The plan has been read and found whole.
    """
    file = read_plan_file(source)
    (target / "shards").mkdir(parents=True)
    (target / "slices").mkdir()
    from_, to = PlanPaths(source), PlanPaths(target)
    slices = {read_planned_manifest(from_, file, entry).slice.sha256 for entry in file.shards}
    link_or_copy(from_.plan_file, to.plan_file)
    for entry in file.shards:
        link_or_copy(from_.manifest(entry.id), to.manifest(entry.id))
    for sha256 in slices:
        link_or_copy(from_.slice(sha256), to.slice(sha256))


def refuse_strays(folder: Path, outline: Outline) -> None:
    """Raises PlanError if there are files among a plan's own that it does not foresee."""
    paths = PlanPaths(folder)
    foreseen = {paths.manifest(shard) for shard in outline.manifests}
    foreseen |= {paths.slice(manifest.slice.sha256) for manifest in outline.manifests.values()}
    there = (file for name in ("shards", "slices") for file in (folder / name).iterdir())
    if strays := sorted(str(file) for file in there if file not in foreseen):
        problem = f"it holds entries that were not planned: {listed(strays)}"
        raise PlanError(problem, where=str(folder), hint="move it out of the plan")
