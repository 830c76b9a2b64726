"""What there is to run and how long it will take: by its lanes' limits, what a task takes, and what past runs took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prealloc.model.cell import MODEL
from prealloc.model.plan import Plan
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.task_times import TaskTimes
from prealloc.planning.estimate import Effort, Estimate, estimate
from prealloc.planning.forecast import forecast
from prealloc.planning.history import NO_PAST, History, PastUnit, Z
from prealloc.planning.matrix import Outlook, loads_of_plan, loads_of_spec, matrix_of_plan, matrix_of_spec


def outlook(
    planned: Plan | PlanSpec, run: Mapping[str, Any], effort: Mapping[str, Any], history: History = NO_PAST
) -> Outlook:
    """The cells of a plan, or of what is to be planned, and the estimate of a run with these options.

    `effort` are fields of Effort; what `past_units` gives comes before them. Before the library is read, the
    estimate may be missing. Raises OptionsError.
    """
    if isinstance(planned, Plan):
        spec, matrix, loads = planned.spec, matrix_of_plan(planned), loads_of_plan(planned)
    else:
        spec, matrix, loads = planned, matrix_of_spec(planned), loads_of_spec(planned) or []
    at_once = {name: run[name] for name in ("concurrency", "workers", "where") if name in run}
    given = Effort.checked(**effort)

    def estimated(past: History) -> Estimate:
        return estimate(loads, spec.lanes, given, history=past, **at_once)

    if not loads:
        return Outlook(matrix=matrix)
    if not history:
        return Outlook(matrix=matrix, estimate=estimated(history))
    return Outlook(
        matrix=matrix,
        estimate=estimated(history),
        least_s=estimated(history.later(-Z)).seconds,
        most_s=estimated(history.later(Z)).seconds,
        forecast=forecast(loads, history, repeats=spec.repeats),
    )


def past_units(*runs: str | Path, prices: Mapping[str, Any] | None = None) -> History:
    """What the units of runs took, whatever became of them: a timeout has taken its time too.

    `prices` are as for outcomes(). Raises RunFolderError, PlanError, JournalError if one is not a run folder.
    """
    from prealloc.api.outcomes import outcomes

    return History(
        PastUnit(
            unit.settings.get(MODEL),
            unit.type,
            unit.task,
            unit.working_s,
            sum(tokens.total for tokens in unit.usage.values()) if unit.usage is not None else None,
            unit.cost,
            unit.unpriced_tokens,
        )
        for run in runs
        for unit in outcomes(run, prices=prices)
        if unit.outcome is not None
    )


def past_task_times(runs: Sequence[str | Path]) -> TaskTimes:
    """The working times of the tasks in these runs. Raises RunFolderError, PlanError, JournalError."""
    from prealloc.api.outcomes import outcomes

    return TaskTimes(
        (unit.task, unit.type, unit.working_s) for run in runs for unit in outcomes(run) if unit.working_s is not None
    )
