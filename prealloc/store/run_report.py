"""All that a report of runs shows, as values: gathered by api/reports, drawn by report/html."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.model.plan import PlanFile
from prealloc.model.questions import ReportOptions
from prealloc.store.attempts import Ended, Session
from prealloc.store.clusters import Cluster
from prealloc.store.comparison import Comparison, Member
from prealloc.store.fold import Tried
from prealloc.store.lane_log import LaneNote
from prealloc.store.results import Results
from prealloc.store.results_row import ResultsRow
from prealloc.store.run_folder import RunFile
from prealloc.store.task_grid import TaskGrid
from prealloc.store.telemetry import Sample


class Source(NamedTuple):
    """One run folder: where its numbers come from."""

    folder: str
    """As the user named it; of an experiment's run with that run's name."""
    plan: PlanFile
    file: RunFile
    guards_library: bool
    library_opens: int
    options: dict[str, Any]
    """Of the run's policy what is not the default."""
    lane_notes: Sequence[LaneNote]
    samples: Sequence[Sample]
    """How it went over time."""
    sessions: Sequence[Session]
    running: bool
    attempts: Sequence[Ended]
    """Those that ran in it."""
    shards: dict[str, str | None]
    """Each with the lane that the plan deals it to."""
    warnings: Sequence[str]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """Rates by two keys; all else is averaged."""

    row_key: str
    column_key: str
    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    cells: dict[tuple[int, int], ResultsRow]
    """By places in `rows` and `columns`; what is missing has no units."""


class Compare(NamedTuple):
    """The comparison of a factor's values, and the same for each value of another key."""

    all: Comparison
    by: Sequence[Comparison]


class RunReport(NamedTuple):
    """What a report shows. Units are in the plan's order."""

    asked: ReportOptions
    title: str
    command: str
    """What was named, as one types it; of several RUN."""
    sources: Sequence[Source]
    as_of: float | None
    """The end of the last attempt; None if there was none."""
    total: ResultsRow
    factors: dict[str, tuple[Any, ...]]
    """Those with several values."""
    factor: str | None
    """The one that is compared; None: nothing has several values."""
    main: Results | None
    """The rates of its values."""
    matrices: Sequence[Matrix]
    compared: Compare | None
    not_compared: str
    """Why there is no comparison."""
    clusters: Sequence[Cluster]
    tasks: TaskGrid
    members: Sequence[Member]
    folder_of: Callable[[Member], str]
    """The run folder that its outcome is of: `folder` of a source."""
    lane_of: Callable[[Member], str | None]
    tries_of: Callable[[Member], list[Tried]]
    """With their results, from the journal."""
    log_of: Callable[[Member], tuple[str, str]]
    """The name of its shard's log, and the end of that."""
