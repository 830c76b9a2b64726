"""What the API answers with: how far a run is, and what differs between two plans. Views and `--json` show these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from prealloc.model.events import LaneHalted, LanePaused
from prealloc.model.outcome import FINAL, Status, Successes


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is, folded from its journal."""

    run: str
    plan: str
    worker: str
    engine: str
    running: bool
    """A master is at work on it now."""
    master: int | None
    """That master's process id."""
    sessions: int
    units: int
    final: int
    """Units with an outcome that stands: no resume runs them, unless with --failed."""
    census: dict[str, int]
    shards: dict[str, dict[str, int]]
    """The census of each shard."""
    rate: float | None
    """The success rate of the first outcomes so far, see Successes.rate; None if no result says success."""
    success: Successes
    """What that rate is over, and what it leaves out."""
    shard_success: dict[str, Successes]
    """The same of each shard."""
    library_opens: int
    warnings: list[str]
    halted: tuple[LaneHalted, ...]
    """The lanes that start no further task, as of the latest session."""
    waiting: tuple[LanePaused, ...]
    """The lanes on which everybody waits for the server now."""
    resume: str | None
    """The command that runs the rest, if there is a rest and no master is running it."""
    part: str | None = None
    """What the latest session was asked for, as it was typed; None: everything that was open."""
    stopped: str | None = None
    """The limit of the whole run that the latest session has reached."""
    hosts: dict[str, int] = {}
    """Workers that run on each host now, where a master is at work; none on its own machine alone."""
    paused: bool = False
    """`prealloc ctl` has paused the master that is at work on it now."""
    rows: str = "shard"
    """What `shards` has: of an experiment, its runs."""
    elsewhere: dict[str, int] = {}
    """By shard: units that other runs of the experiment have decided or run now. They are `not_run` in the census."""


def sums_of(rows: Mapping[str, tuple[dict[str, int], Successes]]) -> dict[str, Any]:
    """The fields of RunStatus that follow from its rows: of each its units by status, and what their results say."""
    census, success = dict.fromkeys(map(str, Status), 0), Successes()
    for counts, each in rows.values():
        success.add(each)
        for status, count in counts.items():
            census[status] += count
    return {
        "units": sum(census.values()),
        "final": sum(census[status] for status in FINAL),
        "census": census,
        "shards": {name: counts for name, (counts, _) in rows.items()},
        "rate": success.rate(success.reported),
        "success": success,
        "shard_success": {name: each for name, (_, each) in rows.items()},
    }


class CellProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cell of an experiment is."""

    cell: dict[str, Any]
    """Its factors, and the settings that are not the same in all cells."""
    wanted: int
    """Units that any run of the experiment has in its plan."""
    done: int
    """Those with a final outcome."""
    ok: int
    missing: dict[str, int]
    """The others, by why they have none."""


class ExperimentRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an experiment."""

    run: str
    """The name of its folder."""
    created_at: str
    running: bool
    units: int
    """Of its plan."""
    done: int
    """Units that count by what became of them in this run."""


class ExperimentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far an experiment is, from the journals of its runs."""

    experiment: str
    cells: list[CellProgress]
    runs: list[ExperimentRun]
    wanted: int
    done: int
    ok: int
    go_on: str | None
    """The command that runs what is missing; None if nothing is, or a run is at work."""
    warnings: list[str]


class PlanDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two plans."""

    first: str
    second: str
    """As the caller named them."""
    same: bool
    inputs: dict[str, tuple[Any, Any]]
    """Spec fields and library fingerprints that differ: {name: (in the first, in the second)}."""
    added: list[str]
    removed: list[str]
    moved: dict[str, tuple[list[str], list[str]]]
    """Task ids in both, but in other shards: {id: (shards in the first, shards in the second)}."""
    changed: list[str]
    """Task ids in both, whose type, workflow or kept fields differ."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What all units of a run have in common. Runs of an experiment may differ in it: then their units are others."""

    worker: str = ""
    settings: dict[str, Any] = {}
    """Of the plan, without those that do not matter."""


class WrittenReport(NamedTuple):
    """What a report has become."""

    out: Path
    bytes: int
    units: int
    """Of the runs."""
    listed: int
    """Those that are in the report's table."""
    detailed: int
    """Those with their attempts, error and result."""
    not_detailed: int
    """Those that were to have them, for which there was no room."""
