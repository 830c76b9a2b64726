"""What became of one unit of a plan, over all of its tries."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.model.answers import Setup
from prealloc.model.outcome import FINAL, Attempt, ErrorInfo, Status
from prealloc.model.plan import Unit
from prealloc.model.prices import Prices, cost_of, sum_of
from prealloc.model.questions import OutcomeOf
from prealloc.model.usage import Usage, added
from prealloc.store.fold import Outcome, Tried, UnitState
from prealloc.store.run_folder import OpenRun


class UnitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one unit of the plan: its latest outcome, and its first."""

    shard: str
    task: str
    type: str
    repeat: int
    status: Status
    first_status: Status
    success: bool | None = None
    first_success: bool | None = None
    unclear: str | None = None
    """The start of the result's `success` as JSON text, where that is neither yes nor no."""
    scorer: str | None = None
    """`module:function` that success and score are from; None: the worker's own result."""
    score: float | None = None
    first_score: float | None = None
    working_s: float | None = None
    waiting_s: float | None = None
    attempts: int = 0
    usage: Usage | None = None
    """Tokens by model, of all its attempts: failed and killed ones too."""
    cost: float | None = None
    """Dollars, of the tokens that have a price; None: none has."""
    unpriced_tokens: int = 0
    infra_retries: int = 0
    """Attempts that were made because the one before met an infrastructure error; see UnitState."""
    lane_retries: int = 0
    lost_workers: int = 0
    lost_a_try: bool = False
    """See UnitState."""
    settings: dict[str, Any] = {}
    cell: dict[str, Any] = {}
    setup: Setup = Setup()
    kept: dict[str, Any] = {}
    """Kept fields of the task, those that were asked for."""
    result_fields: dict[str, Any] = {}
    """Fields of the first outcome's result, those that were asked for; `a.b` is b in the object a."""
    numbers: dict[str, float] = {}
    """Numbers of which the mean was asked for."""
    error: ErrorInfo | None = None
    run: str | None = None
    """Of an experiment: the name of the run that this is of."""
    later: tuple[str, ...] = ()
    """Of an experiment: further runs that have decided the same unit; theirs do not count."""
    outcome: Outcome | None = None
    first: Outcome | None = None
    """The first outcome: another than `outcome` after `resume --failed` alone."""

    @property
    def unit(self) -> Unit:
        return Unit(self.shard, self.task, self.repeat)

    @property
    def was_retried(self) -> bool:
        """Whether infrastructure or a lost worker has cost it a try before its first outcome.

        What has crashed does not count: it has lost its workers itself.
        """
        status = self.first.attempt.status if self.first else Status.NOT_RUN
        return self.lost_a_try and status in FINAL and status is not Status.CRASHED

    def read_first(self) -> Attempt | None:
        """The first attempt that decided the unit, as the journal holds it; None if none has ended yet."""
        return self.first.read() if self.first else None

    def read(self) -> Attempt | None:
        """The accepted attempt as the journal holds it, with its result; None if none has ended yet."""
        return self.outcome.read() if self.outcome else None


class Judged(NamedTuple):
    """What a unit counts with."""

    outcome: Outcome | None
    status: Status
    success: bool | None
    score: float | None

    @property
    def rated(self) -> float | None:
        """In a rate: 1 or 0. None: it is undecided, or ok without a known success."""
        if self.status is Status.OK:
            return None if self.success is None else float(self.success)
        return 0.0 if self.status in FINAL else None


def judged(unit: UnitOutcome, which: OutcomeOf = "first") -> Judged:
    """What it counts with, by its first or its latest outcome."""
    if which == "first":
        return Judged(unit.first, unit.first_status, unit.first_success, unit.first_score)
    return Judged(unit.outcome, unit.status, unit.success, unit.score)


def unit_outcome(
    unit: Unit,
    type: str,
    settings: dict[str, Any],
    state: UnitState,
    kept: dict[str, Any] | None = None,
    *,
    cell: dict[str, Any] | None = None,
    setup: Setup | None = None,
    prices: Prices | None = None,
) -> UnitOutcome:
    """The outcome of a unit from the fold of the journal."""
    outcome = state.outcome
    latest = outcome.attempt if outcome else None
    first = state.first.attempt if state.first else latest
    return UnitOutcome(
        shard=unit.shard,
        task=unit.task,
        type=type,
        repeat=unit.repeat,
        status=state.status,
        first_status=first.status if first else Status.NOT_RUN,
        success=latest.success if latest else None,
        first_success=first.success if first else None,
        unclear=latest.unclear if latest else None,
        score=latest.score if latest else None,
        first_score=first.score if first else None,
        working_s=latest.working_s if latest else None,
        waiting_s=latest.waiting_s if latest else None,
        attempts=state.attempts,
        **spent(((state.usage, prices or {}),)),
        infra_retries=state.infra_retries,
        lane_retries=state.lane_retries,
        lost_workers=state.lost_workers,
        lost_a_try=state.lost_a_try,
        settings=settings,
        cell=cell or {},
        setup=setup or Setup(),
        kept=kept or {},
        error=latest.error if latest else None,
        outcome=outcome,
        first=state.first or outcome,
    )


def spent(parts: Sequence[tuple[Usage | None, Prices]]) -> dict[str, Any]:
    """The fields of a unit's outcome that say what it has used: of each run that has tried it, at that run's prices."""
    used = added(usage for usage, _ in parts)
    cost = sum_of(cost_of(usage, prices) for usage, prices in parts)
    return {"usage": used, "cost": cost.dollars, "unpriced_tokens": cost.unpriced}


class UnitHistory(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one unit of a run."""

    unit: str
    type: str
    status: Status
    first_status: Status
    """Differs from `status` after `resume --failed` alone."""
    settings: dict[str, Any]
    lane: str | None
    tries: list[Tried]
    """In their order. None yet for a unit that runs for the first time."""
    accepted: int | None
    """The number of the attempt that counts."""
    deaths: int
    """Workers that it has killed while alone in them."""
    log: str
    """What the workers of its shard have printed."""
    run: str | None = None
    """Of an experiment: the name of the run whose outcome counts."""


def history_of(
    run: OpenRun, unit: Unit, type: str, state: UnitState, tries: Sequence[Tried], name: str | None = None
) -> UnitHistory:
    """The history of a unit of a run, which has this `name` in an experiment. `tries` are those of all its runs."""
    outcome = state.outcome
    return UnitHistory(
        unit=str(unit),
        type=type,
        status=state.status,
        first_status=state.first.attempt.status if state.first else state.status,
        settings=run.settings(unit.shard, state),
        lane=outcome.attempt.lane if outcome is not None else run.manifests[unit.shard].planned_lane,
        tries=[*tries],
        accepted=outcome.attempt.attempt if outcome else None,
        deaths=state.deaths,
        log=str(run.paths.log(unit.shard)),
        run=name,
    )


def mixed(units: Iterable[UnitOutcome], but: Container[str] = ()) -> tuple[str, ...]:
    """What whole runs differ in: `worker`, and the names of settings; none of `but`."""
    setups = list({id(unit.setup): unit.setup for unit in units}.values())
    values: dict[str, set[bytes]] = {}
    for setup in setups if len(setups) > 1 else ():
        values.setdefault("worker", set()).add(setup.worker.encode())
    for name in dict.fromkeys(name for setup in setups for name in setup.settings) if len(setups) > 1 else ():
        values[name] = {msgspec.json.encode(setup.settings.get(name), order="sorted") for setup in setups}
    return tuple(name for name, found in values.items() if len(found) > 1 and name not in but)
