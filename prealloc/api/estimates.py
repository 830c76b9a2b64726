"""How long a plan will take: its lanes' limits, what a task takes, and what past runs took."""

from __future__ import annotations

from pathlib import Path

from prealloc.model.cell import MODEL
from prealloc.model.plan import Plan
from prealloc.planning.estimate import NO_PAST, Durations, Effort, Estimate, estimate
from prealloc.planning.matrix import loads_of_plan


def estimate_plan(
    plan: Plan,
    effort: Effort | None = None,
    *,
    concurrency: int = 1,
    workers: int | None = None,
    durations: Durations = NO_PAST,
) -> Estimate:
    """The estimate of a plan that is run with these options; what `past_durations` gives comes before the effort."""
    return estimate(
        loads_of_plan(plan),
        plan.spec.lanes,
        effort if effort is not None else Effort(),
        concurrency=concurrency,
        workers=workers,
        durations=durations,
    )


def past_durations(run: str | Path) -> Durations:
    """The working times of a run's units, whatever became of them: a timeout has taken its time too.

    Raises RunFolderError, PlanError, JournalError if `run` is no run folder.
    """
    from prealloc.api.runs import outcomes

    return Durations(
        (unit.settings.get(MODEL), unit.type, unit.working_s) for unit in outcomes(run) if unit.working_s is not None
    )
