"""What a plan says of its shards: `plan.json` and the manifests, every digest checked. The tasks are in slices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UnsetType

from prealloc.errors import OptionsError, PlanError
from prealloc.files.paths import SHARD_ID, PlanPaths
from prealloc.model.cell import lanes_of, settings_of
from prealloc.model.json_value import canonical
from prealloc.model.plan import Manifest, PlanFile, ShardEntry
from prealloc.model.plan_spec import MAX_REPEATS, MAX_SEED, MAX_UNITS, RANKINGS, PlanSpec
from prealloc.model.policy import read_run_options
from prealloc.model.words import shown
from prealloc.store.build import plan_id
from prealloc.store.documents import parse, read_bytes
from prealloc.store.slices import MOST_SLICE_BYTES, PLAN_AGAIN, SHA256, differences


class Outline(NamedTuple):
    """A plan without its tasks: `plan.json` and the manifests by shard, in the plan's order."""

    file: PlanFile
    manifests: dict[str, Manifest]


def read_outline(folder: Path) -> Outline:
    """The outline of a plan folder, every digest of it checked. The slices are not looked at. Raises PlanError."""
    file = read_plan_file(folder)
    return Outline(file, read_manifests(folder, file))


def read_manifests(folder: Path, file: PlanFile) -> dict[str, Manifest]:
    """The manifests that a plan's file lists, by shard. Raises PlanError if one is not as planned."""
    paths = PlanPaths(folder)
    manifests = {entry.id: read_planned_manifest(paths, file, entry) for entry in file.shards}
    check_plan_id(file, list(manifests.values()), where=str(paths.plan_file))
    return manifests


def read_plan_file(folder: Path) -> PlanFile:
    """`plan.json` of a plan folder, checked as far as it can be without the files that it lists. Raises PlanError."""
    path = PlanPaths(folder).plan_file
    if os.path.isfile(folder):
        raise PlanError("it is a file", where=str(folder), hint="name the plan's folder")
    raw = read_bytes(path, PlanError, inside=folder, hint="name a folder that `prealloc plan --out` wrote")
    plan = parse(raw, PlanFile, PlanError, where=str(path), hint=PLAN_AGAIN)
    _check_values(plan, where=str(path))
    seen: set[str] = set()
    for entry in plan.shards:
        check_shard_id(entry.id, where=str(path))
        if entry.file != PlanPaths.manifest_name(entry.id) or entry.id in seen:
            raise PlanError(f"shard {entry.id!r} is listed wrongly", where=str(path), hint=PLAN_AGAIN)
        seen.add(entry.id)
    for library in plan.libraries:
        if sum(library.types.values()) != library.tasks:
            problem = f"library {shown(library.name)} does not have as many tasks as its types"
            raise PlanError(problem, where=str(path), hint=PLAN_AGAIN)
    return plan


def _check_values(plan: PlanFile, *, where: str) -> None:
    """Raises PlanError for values that no plan has: they bind us, and are believed before any digest is."""
    found = []
    try:
        if PlanSpec.checked(**msgspec.structs.asdict(plan.spec)) != plan.spec:
            found.append("its spec is not written as prealloc writes it")
    except OptionsError as error:
        found += [f"its spec has {mistake.where}: {mistake.problem}" for mistake in error.mistakes]
    if plan.ranking not in RANKINGS.values():
        found.append(f"its ranking is {shown(plan.ranking)}; this prealloc knows {', '.join(RANKINGS.values())}")
    elif not found and plan.ranking != plan.spec.ranking_name:
        found.append("its ranking is not that of its spec")
    if plan.seed != plan.spec.seed:
        found.append("its seed is not that of its spec")
    if not found and len(plan.shards) != plan.spec.shards_of_all():
        found.append(f"it lists {len(plan.shards)} shards, its spec has {plan.spec.shards_of_all()}")
    found += _run_options(plan.run_options)
    if any(not 0 <= entry.units <= MAX_UNITS or min(entry.types.values(), default=0) < 0 for entry in plan.shards):
        found.append("a shard's units or types are not counts")
    elif sum(entry.units for entry in plan.shards) > MAX_UNITS:
        found.append(f"it has more than {MAX_UNITS:,} units")
    for library in plan.libraries:
        counts = (library.bytes, library.tasks, *library.types.values())
        if min(counts) < 0 or not SHA256.fullmatch(library.sha256) or "\0" in library.path:
            found.append(f"what it says about its library {shown(library.name)} is impossible")
    if found:
        raise PlanError("; ".join(found), where=where, hint=PLAN_AGAIN)


def _run_options(options: dict[str, Any] | UnsetType) -> list[str]:
    """What is wrong with them."""
    if isinstance(options, UnsetType):
        return []
    try:
        as_read = read_run_options(options)
    except OptionsError as error:
        return [f"its run_options have {mistake.where}: {mistake.problem}" for mistake in error.mistakes]
    return [] if as_read == options else ["its run_options are not written as prealloc writes them"]


def check_shard_id(shard: str, *, where: str) -> None:
    """Raises PlanError unless the id is one that prealloc makes: it becomes part of file names."""
    if not SHARD_ID.fullmatch(shard) or shard.strip(".") == "":
        raise PlanError(f"{shown(shard)} is not a shard id", where=where, hint=PLAN_AGAIN)


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """A manifest and the bytes it was read from. The slice it names lies in the same plan folder."""
    hint = "name a file PLAN/shards/SHARD.json of a plan folder"
    raw = read_bytes(path, PlanError, inside=PlanPaths.of_manifest(path).root, hint=hint)
    manifest = parse(raw, Manifest, PlanError, where=str(path), hint=PLAN_AGAIN)
    check_shard_id(manifest.id, where=str(path))
    ref = manifest.slice
    if not SHA256.fullmatch(ref.sha256) or ref.file != PlanPaths.slice_name(ref.sha256):
        # The only name a slice can have; so no manifest can point outside its folder.
        raise PlanError(f"{shown(ref.file)} is not the name of a slice", where=str(path), hint=PLAN_AGAIN)
    for name, value, least, most in (
        ("repeats", manifest.repeats, 1, MAX_REPEATS),
        ("seed", manifest.seed, 0, MAX_SEED),
        ("slice.tasks", ref.tasks, 0, MAX_UNITS),
        ("slice.tasks x repeats", ref.tasks * manifest.repeats, 0, MAX_UNITS),
        ("slice.bytes", ref.bytes, 0, MOST_SLICE_BYTES),
    ):
        if not least <= value <= most:
            raise PlanError(f"{name} is {value}, not {least} to {most}", where=str(path), hint=PLAN_AGAIN)
    return manifest, raw


def find_entry(file: PlanFile, shard: str, *, where: str) -> ShardEntry:
    """The line of one shard in plan.json. Raises PlanError if there is no such shard."""
    for entry in file.shards:
        if entry.id == shard:
            return entry
    hint = f"use one of {file.shards[0].id} to {file.shards[-1].id}" if file.shards else PLAN_AGAIN
    raise PlanError(f"it has no shard {shown(shard)}", where=where, hint=hint)


def read_planned_manifest(paths: PlanPaths, file: PlanFile, entry: ShardEntry) -> Manifest:
    """The manifest that plan.json lists: its digest and its plan's id must be those that were planned."""
    path = paths.manifest(entry.id)
    manifest, raw = read_manifest(path)
    spec = file.spec
    digest = hashlib.sha256(raw).hexdigest()
    if digest != entry.sha256 or manifest.plan != file.id or manifest.id != entry.id:
        found = differences(
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
        problem = f"it is not the manifest that was planned: {found}"
        raise PlanError(problem, where=str(path), hint=PLAN_AGAIN)
    _check_lanes(manifest, spec, where=str(path))
    if manifest.slice.tasks * manifest.repeats != entry.units:
        raise PlanError("its units are not those of plan.json", where=str(path), hint=PLAN_AGAIN)
    said = [manifest.strategy, manifest.repeats, manifest.seed]
    # The settings as JSON text: 1, 1.0 and true are three of them. A cell's factors and a lane add theirs.
    lane = next((lane for lane in spec.lanes if lane.name == manifest.lane), None)
    same = canonical(manifest.settings) == canonical(settings_of(manifest.cell, lane, spec.settings))
    if said != [spec.strategy, spec.repeats, spec.seed] or not same:
        raise PlanError("it is not the manifest of its plan's spec", where=str(path), hint=PLAN_AGAIN)
    return manifest


def _check_lanes(manifest: Manifest, spec: PlanSpec, *, where: str) -> None:
    """Raises PlanError unless they are those of the plan."""
    unknown = [name for name in manifest.served_by if all(lane.name != name for lane in spec.lanes)]
    if unknown:
        raise PlanError(f"it names lane {unknown[0]!r}, which the plan does not have", where=where, hint=PLAN_AGAIN)
    if not isinstance(manifest.lanes, UnsetType):
        serving = sorted(lane.name for lane in lanes_of(manifest.cell, spec.lanes, spec.settings))
        if manifest.lane is not None or sorted(manifest.lanes) != serving:
            raise PlanError("its lanes are not those that serve its cell", where=where, hint=PLAN_AGAIN)


def chosen(manifest: Manifest, spec: PlanSpec, lane: str | None) -> Manifest:
    """The manifest with this lane of the plan's, and its values among the settings. Raises PlanError."""
    if lane is None or lane == manifest.lane:
        return manifest
    found = next((each for each in spec.lanes if each.name == lane), None)
    if found is None:
        raise PlanError(f"the plan has no lane {shown(lane)}", where=f"shard {manifest.id}", hint=PLAN_AGAIN)
    return manifest.on(found)


def check_plan_id(file: PlanFile, manifests: Sequence[Manifest], *, where: str) -> None:
    """Raises PlanError unless the plan's id is the digest of its spec and its slices."""
    found = plan_id(file.spec, [manifest.slice.sha256 for manifest in manifests])
    if found != file.id:
        problem = f"its id is not that of its spec and slices: {differences({'id': (file.id, found)})}"
        raise PlanError(problem, where=where, hint=PLAN_AGAIN)
