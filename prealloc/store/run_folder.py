"""A run on disk: `run.json` and the plan's copy, which together are all that a resume needs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from prealloc.errors import PlanError, RunFolderError
from prealloc.files.atomic import copy_folder_linked, new_folder, write_file, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import PlanPaths, RunPaths
from prealloc.model.plan import Document, Manifest, Plan, PlanFile, Unit
from prealloc.model.policy import RunPolicy
from prealloc.model.task import LightweightTask
from prealloc.store.documents import parse, read_bytes, to_json
from prealloc.store.plan_folder import (
    check_plan_id,
    fill_plan_folder,
    read_plan_file,
    read_planned_manifest,
    read_slice,
)

_RESTORE = "restore the plan's files; a changed plan needs a run of its own (`prealloc run --reuse`)"


class RunFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`run.json`: what was started, and with what."""

    format: str = "prealloc.run"
    version: int = 1
    plan: str
    """The plan's id: the copy beside this file must still be that plan."""
    plan_digests: dict[str, str]
    """Of each field of plan.json: there is more in it than its id covers, such as the library's path."""
    worker: str
    """`module:function`."""
    import_path: tuple[str, ...]
    """Folders put before sys.path to import the worker module."""
    engine: str
    policy: RunPolicy
    created_at: str
    prealloc: str
    python: str
    platform: str


class OpenRun:
    """A run folder that was read and found whole. Tasks are read shard by shard, when they are asked for."""

    def __init__(self, root: Path) -> None:
        self.paths = RunPaths(root)
        if not self.paths.run_file.is_file():
            raise RunFolderError("it is no run folder", where=str(root), mend="name a folder of `prealloc run`")
        mend = "restore it from a copy: the journal beside it is only read together with it"
        raw = read_bytes(self.paths.run_file, RunFolderError, mend=mend)
        self.file = parse(raw, RunFile, RunFolderError, where=str(self.paths.run_file), mend=mend)
        self.plan = self._unchanged_plan()
        self.manifests: dict[str, Manifest] = {
            entry.id: read_planned_manifest(self.paths.plan, self.plan, entry) for entry in self.plan.shards
        }
        check_plan_id(self.plan, list(self.manifests.values()), where=str(self.paths.plan.plan_file))
        self._ids: dict[str, list[str]] = {}
        self._latest: tuple[str, tuple[LightweightTask, ...]] = ("", ())

    def tasks(self, shard: str) -> tuple[LightweightTask, ...]:
        """The tasks of one shard, their bytes checked against the plan."""
        if self._latest[0] != shard:  # asked for twice in a row when a shard is launched
            self._latest = (shard, read_slice(self.paths.plan, self.manifests[shard]))
            self._ids[shard] = [task.id for task in self._latest[1]]
        return self._latest[1]

    def check_slices(self) -> None:
        """Raises PlanError if a slice is not as planned: before a resume changes anything."""
        for _ in self.units():  # which reads each slice once, and keeps the ids
            pass

    def units(self) -> Iterator[Unit]:
        """Every planned unit in the order they start: shard by shard, every task once, then every task again."""
        for shard, manifest in self.manifests.items():
            if shard not in self._ids:
                self.tasks(shard)
            for repeat in range(manifest.repeats):
                for task in self._ids[shard]:
                    yield Unit(shard, task, repeat)

    def _unchanged_plan(self) -> PlanFile:
        plan = read_plan_file(self.paths.plan.root)
        if plan.id != self.file.plan:
            raise PlanError(
                f"the plan was edited since the run began: it is {plan.id[:12]}, the run has {self.file.plan[:12]}",
                where=str(self.paths.plan.plan_file),
                mend=_RESTORE,
            )
        digests = plan_digests(plan)
        edited = [name for name, digest in digests.items() if digest != self.file.plan_digests.get(name)]
        if edited:
            raise PlanError(
                f"the plan was edited since the run began: changed in it: {', '.join(edited)}",
                where=str(self.paths.plan.plan_file),
                mend=_RESTORE,
            )
        return plan


def plan_digests(plan: PlanFile) -> dict[str, str]:
    """The digest of each field of plan.json. Of its value, so the file's layout does not matter."""
    return {
        name: hashlib.sha256(msgspec.json.encode(getattr(plan, name), order="sorted")).hexdigest()
        for name in plan.__struct_fields__
    }


def create_run(out: Path, plan: Plan | Path, file: RunFile) -> None:
    """Makes a run folder, whole or not at all, with a copy of the plan (hard links where possible).

    Raises RunFolderError if `out` holds a run already, or anything else, or cannot be made; CannotGoOn if the
    disk is full.
    """
    refuse_taken(out)
    with writing(out, RunFolderError), new_folder(out) as folder:
        paths = RunPaths(folder)
        if isinstance(plan, Path):
            copy_folder_linked(plan, paths.plan.root)
            _only_plan_files(paths.plan)
        else:
            paths.plan.root.mkdir()
            fill_plan_folder(plan, paths.plan.root)
        for made in (paths.journal, paths.logs, paths.lanes):
            fault_point(Point.RUN_FOLDERS)
            made.mkdir()
        write_file(paths.run_file, to_json(file))


def refuse_taken(out: Path) -> None:
    """Raises RunFolderError if a new run cannot go to `out`."""
    if RunPaths(out).run_file.exists():
        raise RunFolderError("it holds a run already", where=str(out), mend=f"go on with it: prealloc resume {out}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunFolderError("it exists and is not empty", where=str(out), mend="choose another --out")


def _only_plan_files(plan: PlanPaths) -> None:
    """The copy of a plan keeps nothing that a user may have put beside its files."""
    for entry in plan.root.iterdir():
        if entry.name not in ("plan.json", "shards", "slices"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
