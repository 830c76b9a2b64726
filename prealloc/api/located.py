"""The units of a run or an experiment, each with the run it is of: what compares and exports them starts here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prealloc.api.experiments import is_experiment
from prealloc.api.outcomes import outcomes
from prealloc.model.plan import Manifest
from prealloc.store.experiment import OpenExperiment
from prealloc.store.run_folder import OpenRun
from prealloc.store.unit_outcome import UnitOutcome


class Located(NamedTuple):
    """A unit's outcome, and where it was planned and run."""

    unit: UnitOutcome
    run: OpenRun

    @property
    def manifest(self) -> Manifest:
        return self.run.manifests[self.unit.shard]

    @property
    def cell(self) -> dict[str, Any]:
        return self.manifest.cell


def located(run: str | Path, scores: str | None = None, prices: Mapping[str, Any] | None = None) -> Iterator[Located]:
    """Every unit of a run, in the plan's order; of an experiment each once. Raises what outcomes() raises."""
    opened = opened_runs(run)
    for unit in outcomes(run, scores=scores, prices=prices):
        yield Located(unit, opened[unit.run or ""])


def opened_runs(run: str | Path) -> dict[str, OpenRun]:
    """The run folders of an experiment by their names; a run alone has none."""
    if is_experiment(run):
        return {each.paths.root.name: each for each in OpenExperiment(Path(run)).runs()}
    return {"": OpenRun(Path(run))}
