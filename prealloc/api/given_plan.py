"""The plan that a run is given, and what its units are known by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prealloc.files.paths import PlanPaths
from prealloc.model.plan import Plan, SliceRef, Unit
from prealloc.store.asked import Planned
from prealloc.store.identity import Facts, Identity, Rule, identities
from prealloc.store.manifests import Outline, read_outline
from prealloc.store.plan_folder import check_slices
from prealloc.store.reuse import TakenOver, finished, take_over
from prealloc.store.run_folder import OpenRun
from prealloc.store.slices import Names, Slice

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask


class GivenPlan:
    """The plan that was given, in memory or as a folder, of which every byte is checked. Raises PlanError."""

    def __init__(self, plan: Plan | str | Path) -> None:
        self.plan = plan if isinstance(plan, Plan) else Path(plan)
        self.names: dict[SliceRef, Names] = {}
        """Of the tasks in a folder's slices."""
        self._held: dict[str, Sequence[LightweightTask]] = {}
        if isinstance(self.plan, Plan):
            self.outline = Outline(self.plan.file, {shard.id: shard.manifest for shard in self.plan.shards})
            self._held = {shard.id: shard.tasks for shard in self.plan.shards}
        else:
            self.outline = read_outline(self.plan)
            self.names = check_slices(self.plan, self.outline)

    def planned(self) -> Planned:
        """What a part of its run is checked against."""
        return Planned(self.outline.file, self.outline.manifests, self._names_of)

    def _names_of(self, shard: str) -> Names:
        if isinstance(self.plan, Path):
            return self.names[self.outline.manifests[shard].slice]
        return Names([task.id for task in self._held[shard]], [task.type for task in self._held[shard]])

    def tasks(self, shard: str) -> Sequence[LightweightTask]:
        """The tasks of a shard."""
        if isinstance(self.plan, Path):
            return Slice(PlanPaths(self.plan), self.outline.manifests[shard].slice).tasks()
        return self._held[shard]


class Wanted:
    """What the units of a plan are known by, worked out when it is asked for."""

    def __init__(self, source: GivenPlan, worker: str, rule: Rule) -> None:
        self.rule = rule
        self._source = source
        self._worker = worker
        self._facts = Facts()

    @cached_property
    def identities(self) -> dict[Unit, Identity]:
        """In the plan's order."""
        outline, tasks = self._source.outline, self._source.tasks
        return identities(self._worker, outline.file.spec, outline.manifests, tasks, self.rule, self._facts)

    def take_over(self, runs: Sequence[Path]) -> TakenOver:
        """What of other runs this plan takes over. Raises InputError, JournalError."""
        sources = [OpenRun(run) for run in runs]
        ended = [finished(source, self._worker, self.rule, self._facts) for source in sources]
        plans = (self._source.outline.file, *(source.plan for source in sources))
        return take_over(self.identities, ended, {name for each in plans for name in each.spec.factor_values})
