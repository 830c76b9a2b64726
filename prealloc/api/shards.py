"""load_shard(): what a program of the user's own needs to run one shard, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from prealloc.files.paths import PlanPaths, files_of, plan_beside
from prealloc.model.plan import LibraryInfo, PlanFile, Shard
from prealloc.store import plan_folder
from prealloc.store.manifests import read_manifest, read_plan_file
from prealloc.worker.guard import guard, library_files


def load_shard(path: str | Path, *, require: Iterable[str] = (), guard_library: bool = True) -> Shard:
    """The shard of one manifest file, `plan/shards/<shard>.json`, with its tasks: all a runner needs.

    The slice's size and sha256 are checked. `require` names the task fields that the caller reads (further ones
    are in `task.extra`): if the plan was made without them, that is refused here, with the hint,
    rather than noticed in the middle of a run.

    If the plan's other files are where they belong, `lane` tells the limits of the shard's lane. And from here on this
    process may not open the plan's task libraries, nor a copy of one: that raises LibraryOpened, which says where it
    was tried first. `guard_library=False` is for a program that makes plans as well, such as a notebook.
    Raises PlanError.
    """
    path = Path(path)
    manifest, _ = read_manifest(path)
    guard.allow(manifest.slice.sha256)
    shard = plan_folder.load_shard(path, require=require)
    plan = _plan(path, manifest.plan)
    lanes = plan.spec.lanes if plan is not None else ()
    if guard_library and plan is not None:
        guard.protect_too(library_files([library.path for library in plan.libraries]), copies_of(plan.libraries))
    return msgspec.structs.replace(
        shard,
        slice_path=PlanPaths.of_manifest(path).slice(manifest.slice.sha256),
        lane=next((lane for lane in lanes if lane.name == shard.manifest.lane), None),
    )


def copies_of(libraries: Iterable[LibraryInfo]) -> dict[int, set[str | Path]]:
    """What copies of libraries are known by. The digest of a database, say, is that of its tasks and of no file."""
    known: dict[int, set[str | Path]] = {}
    for library in libraries:
        known.setdefault(library.bytes, set()).add(library.sha256)
        for file in files_of(Path(library.path)):
            with suppress(OSError, ValueError):
                if file.is_file() and (size := file.stat().st_size):
                    known.setdefault(size, set()).add(file)
    return known


def _plan(manifest: Path, id: str) -> PlanFile | None:
    """The plan that a manifest is of; None if it stands alone."""
    paths = plan_beside(manifest)
    if not paths.plan_file.exists():
        return None
    plan = read_plan_file(paths.root)
    return plan if plan.id == id else None
