"""What came of a spec: the shards and the plan, as documents and objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from prealloc.errors import Mistake, OptionsError
from prealloc.model.cell import settings_of
from prealloc.model.document import Document
from prealloc.model.fields import Fields
from prealloc.model.lane import Lane
from prealloc.model.plan_spec import PlanSpec, Strategy
from prealloc.model.words import shown

if TYPE_CHECKING:
    from pathlib import Path

    from prealloc.model.lane import Lane
    from prealloc.model.task import LightweightTask


class LibraryInfo(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fingerprint of a library that a plan was made from."""

    path: str
    name: str
    bytes: int
    sha256: str
    tasks: int
    types: dict[str, int]
    difficulty: str | None = None
    dropped: int = 0
    """Tasks that are left out because the libraries of other difficulties do not hold their ids."""
    fields: Fields | UnsetType = UNSET
    """Where its tasks have their id, type and workflow. Unset, and not written, where they are spelled as ours are."""
    listed: dict[str, str] | UnsetType = UNSET
    """The sha256 of the sorted `ids` and `exclude_ids`, where only these tasks of it may be planned, or not these."""


class SliceRef(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a shard's slice lies, from the plan folder, and what its bytes must be."""

    file: str
    sha256: str
    tasks: int
    bytes: int


class Manifest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard on disk (`shards/<shard>.json`): what an outside program reads to run that shard."""

    format: str = "prealloc.shard"
    version: int = 1
    plan: str
    id: str
    cell: dict[str, Any]
    lane: str | None
    """The lane that serves it, whose values are among the settings. None: there are no lanes, or one of `lanes` is
    chosen when the shard starts."""
    lanes: tuple[str, ...] | UnsetType = UNSET
    """The lanes that may serve it, first the one that the plan deals it to. Unset, and not written, where `lane` is
    chosen, as it is in what an outside program gets, and in plans of versions before."""
    strategy: Strategy
    repeats: int
    seed: int
    settings: dict[str, Any]
    slice: SliceRef

    @property
    def served_by(self) -> tuple[str, ...]:
        """The lanes that may serve it, first the one that the plan deals it to; empty where there are no lanes."""
        if isinstance(self.lanes, UnsetType):
            return () if self.lane is None else (self.lane,)
        return self.lanes

    @property
    def planned_lane(self) -> str | None:
        """The lane that the plan deals it to."""
        return next(iter(self.served_by), None)

    def on(self, lane: Lane | None) -> Manifest:
        """The same with this lane chosen, and its values among the settings."""
        if lane is None:
            return self
        settings = settings_of({}, lane, self.settings)
        return msgspec.structs.replace(self, lane=lane.name, lanes=UNSET, settings=settings)


class ShardEntry(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard's line in `plan.json`. `sha256` is that of the manifest, `units` is tasks x repeats."""

    id: str
    file: str
    sha256: str
    units: int
    types: dict[str, int]


class PlanFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`plan.json`. Everything but `libraries` and `run_options` is a function of ids, types, workflows and spec."""

    format: str = "prealloc.plan"
    version: int = 1
    id: str
    ranking: str
    spec: PlanSpec
    seed: int
    libraries: tuple[LibraryInfo, ...]
    shards: tuple[ShardEntry, ...]
    run_options: dict[str, Any] | UnsetType = UNSET
    """Fields of RunPolicy that runs of this plan have unless they say otherwise; not part of the id. Unset they are not
    written at all. A worker function, an engine or a command is never among them: a file does not name code to run."""


class Unit(NamedTuple):
    """What must be done once."""

    shard: str
    task: str
    repeat: int

    def __str__(self) -> str:
        return f"{self.shard}/{self.task}#{self.repeat}"

    @classmethod
    def parse(cls, text: str) -> Unit:
        """The unit that is written like this. A task's id may hold any characters. Raises OptionsError."""
        shard, slash, rest = text.partition("/")
        task, mark, repeat = rest.rpartition("#")
        if not (slash and mark and shard and task and re.fullmatch("0|[1-9][0-9]{0,6}", repeat)):
            hint = "write it as shard/task#repeat, such as small.00/math-0030#0"
            raise OptionsError([Mistake("UNIT", f"{shown(text)} is not a unit's id", hint)])
        return cls(shard, task, int(repeat))


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work for one worker process, in memory: its manifest and its tasks."""

    manifest: Manifest
    tasks: tuple[LightweightTask, ...]
    slice_path: Path | None = None
    """Where its slice lies, which is a task library of its own; None if it was not read from a file."""
    lane: Lane | None = None
    """The lane that serves it, with its limits; None without one, or where the manifest was alone."""

    def __repr__(self) -> str:
        return f"Shard({self.id}: {len(self.tasks)} tasks)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id), ("tasks", len(self.tasks))]

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def settings(self) -> dict[str, Any]:
        """Those of its manifest: with a lane's only where that is chosen, as `load_shard` does. See Plan.settings."""
        return self.manifest.settings

    def by_type(self) -> dict[str, list[dict[str, Any]]]:
        """`{type: [task as a library spells it, ...]}`, in the shard's order."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for task in self.tasks:
            groups.setdefault(task.type, []).append(task.to_dict())
        return groups


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All shards of an experiment, in memory, with what made them.

    `file` and `slices` are exactly what `write_plan` puts on disk: slices are keyed by their sha256.
    """

    file: PlanFile
    shards: tuple[Shard, ...]
    slices: dict[str, bytes]

    def __repr__(self) -> str:
        units = sum(entry.units for entry in self.file.shards)
        return f"Plan({self.id[:12]}: {len(self.shards)} shards, {units} units)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id), ("shards", len(self.shards))]

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def spec(self) -> PlanSpec:
        return self.file.spec

    def settings(self, shard: Shard, lane: str | None = None) -> dict[str, Any]:
        """What a shard's worker function sees on this lane; without one, on the lane that the plan deals it to."""
        name = lane or shard.manifest.planned_lane
        return shard.manifest.on(next((each for each in self.spec.lanes if each.name == name), None)).settings

    @property
    def libraries(self) -> tuple[LibraryInfo, ...]:
        return self.file.libraries
