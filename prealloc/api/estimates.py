"""What there is to run and how long it will take: by its lanes' limits, what a task takes, and what past runs took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prealloc.model.cell import MODEL
from prealloc.model.plan import Plan
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.task_times import TaskTimes
from prealloc.planning.estimate import NO_PAST, Durations, Effort, estimate
from prealloc.planning.matrix import Outlook, loads_of_plan, loads_of_spec, matrix_of_plan, matrix_of_spec


def outlook(
    planned: Plan | PlanSpec, run: Mapping[str, Any], effort: Mapping[str, Any], durations: Durations = NO_PAST
) -> Outlook:
    """The cells of a plan, or of what is to be planned, and the estimate of a run with these options.

    `effort` are fields of Effort; what `past_durations` gives comes before them. Before the library is read, the
    estimate may be missing. Raises OptionsError.
    """
    if isinstance(planned, Plan):
        spec, matrix, loads = planned.spec, matrix_of_plan(planned), loads_of_plan(planned)
    else:
        spec, matrix, loads = planned, matrix_of_spec(planned), loads_of_spec(planned) or []
    at_once = {name: run[name] for name in ("concurrency", "workers", "where") if name in run}
    given = Effort.checked(**effort)
    forecast = estimate(loads, spec.lanes, given, durations=durations, **at_once) if loads else None
    return Outlook(matrix=matrix, estimate=forecast)


def past_durations(run: str | Path) -> Durations:
    """The working times of a run's units, whatever became of them: a timeout has taken its time too.

    Raises RunFolderError, PlanError, JournalError if `run` is not a run folder.
    """
    from prealloc.api.outcomes import outcomes

    return Durations(
        (unit.settings.get(MODEL), unit.type, unit.working_s) for unit in outcomes(run) if unit.working_s is not None
    )


def past_task_times(runs: Sequence[str | Path]) -> TaskTimes:
    """The working times of the tasks in these runs. Raises RunFolderError, PlanError, JournalError."""
    from prealloc.api.outcomes import outcomes

    return TaskTimes(
        (unit.task, unit.type, unit.working_s) for run in runs for unit in outcomes(run) if unit.working_s is not None
    )
