"""Results in numbers: outcomes grouped and counted. Pure arithmetic; the pictures are in results_view."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.answers import Setup
from prealloc.model.outcome import FINAL, Attempt, ErrorInfo, Status, Successes
from prealloc.model.plan import Unit
from prealloc.model.prices import Cost, Prices, cost_of, sum_of
from prealloc.model.usage import Usage, added
from prealloc.statistics.rate import bounds, mean, rate
from prealloc.statistics.repeats import each_task, pass_hat
from prealloc.store.fold import Outcome, Tried, UnitState

KEYS = ("shard", "type", "task", "repeat", "status")
"""What outcomes can always be grouped by; the names of settings come on top."""
FURTHER_KEYS = ("error.type", "error.http_status", "lane", "worker")
"""What they can be grouped by too, unless a setting or a field has that name."""
RUN = "run"
"""The key of several runs: which of them a unit is of."""
SETTINGS_PREFIX = "settings."
"""`settings.type` is the setting named `type`, where `type` alone is the task's."""


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
    settings: dict[str, Any] = {}
    cell: dict[str, Any] = {}
    setup: Setup = Setup()
    kept: dict[str, Any] = {}
    """Kept fields of the task, those that were asked for."""
    result_fields: dict[str, Any] = {}
    """Fields of the first outcome's result, those that were asked for; `a.b` is b in the object a."""
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

    def read_first(self) -> Attempt | None:
        """The first attempt that decided the unit, as the journal holds it; None if none has ended yet."""
        return self.first.read() if self.first else None

    def read(self) -> Attempt | None:
        """The accepted attempt as the journal holds it, with its result; None if none has ended yet."""
        return self.outcome.read() if self.outcome else None


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


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of a field of results: over tasks, of the mean of each."""

    value: float
    low: float | None
    """Of its interval; None: there is one task alone."""
    high: float | None
    tasks: int
    units: int
    """Those that have a number there."""


class ResultsRow(msgspec.Struct, frozen=True, kw_only=True):
    """One group of units. The statuses add up to `units`: nothing leaves the denominator."""

    group: dict[str, Any]
    mixed: tuple[str, ...]
    """`worker`, and settings of whole runs, of which the row has several: its units were not done alike."""
    tasks: int
    """Different tasks. They are the sample: intervals are over tasks, not over units."""
    units: int
    ok: int
    failed: int
    timeout: int
    crashed: int
    out_of_memory: int
    infra: int
    cancelled: int
    not_run: int
    decided: int
    """Units with a final outcome; the others are infra, cancelled and not_run."""
    rated: int
    """Those that `rate` is over: all but the ok ones whose result does not say success."""
    rate: float | None
    """Successes of the first outcomes / `rated`. None if no result of the run says success: see Successes."""
    low: float | None
    """The interval that holds the true rate, at `level`; clustered by task."""
    high: float | None
    level: float
    n_eff: float | None
    """As many independent units would tell as much of the rate."""
    worst: float | None
    """The rate if no undecided unit succeeds; of all decided the rate itself."""
    best: float | None
    """The rate if all of them do."""
    worst_low: float | None
    """The lower limit of the worst case."""
    best_high: float | None
    pass_k: int | None
    """The number of rated repeats that every task has at least; None if it is 1."""
    pass_hat: float | None
    """pass^k: the share of tasks of which all of `pass_k` repeats succeed, as the mean over choices of repeats."""
    rate_latest: float | None
    """The same of the latest outcomes: another number after `resume --failed` alone."""
    success_rate: float | None
    """Successes of the latest outcomes / all planned units, whatever became of them."""
    success_unclear: int
    """Units whose result has a `success` that is neither yes nor no."""
    success_example: str | None
    """One such `success`, as JSON text."""
    scorer: str | None
    """`module:function` that success and score are from; None: the results themselves."""
    scored: int
    """Units whose result has a score: the denominator of mean_score."""
    mean_score: float | None
    """The mean of the tasks' means, by the first outcomes."""
    score_low: float | None
    score_high: float | None
    means: dict[str, Mean | None]
    """Of the result fields that were asked for; None: no unit has a number there."""
    mean_working_s: float | None
    p50_working_s: float | None
    p95_working_s: float | None
    waiting_s: float
    """In all."""
    attempts: int
    retried: int
    """Units of which an attempt was made again after an infrastructure error, or because its worker died."""
    retried_rate: float | None
    """The success rate of those."""
    usage: Usage | None
    """Tokens by model, of all attempts of its units; None: none has said what it used."""
    cost: float | None
    """Dollars, of the tokens that have a price; None: none has."""
    unpriced_tokens: int
    """Those that have none."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A run's units in groups, and all of them in one."""

    rows: list[ResultsRow]
    total: ResultsRow


def tabulate(
    outcomes: Iterable[UnitOutcome], by: Sequence[str] = (), means: Sequence[str] = (), *, level: float = 0.95
) -> Results:
    """The rows of `aggregate`, and the one that it gives without keys."""
    outcomes = list(outcomes)
    rows = aggregate(outcomes, by, means, level=level)
    return Results(rows=rows, total=aggregate(outcomes, (), means, level=level)[0] if by else rows[0])


def aggregate(
    outcomes: Iterable[UnitOutcome], by: Sequence[str] = (), means: Sequence[str] = (), *, level: float = 0.95
) -> list[ResultsRow]:
    """One row per combination of the keys' values, in their order; without keys one row for everything.

    Keys are those of KEYS and FURTHER_KEYS, `run` where there are several, the names of settings (`settings.NAME` where
    the name is also one of KEYS), the kept fields that the outcomes have, and any field of a result. `means` are fields
    of results. Raises OptionsError for unknown and repeated keys, listing those that there are.
    """
    outcomes = list(outcomes)
    known = _known_keys(outcomes)
    outcomes, found = _with_result_fields(outcomes, [name for name in (*by, *means) if name not in known])
    _check(by, means, [*known, *found])
    # Decided once for the whole run: groups judged by different rules could not be compared.
    reported = any(o.success is not None or o.first_success is not None for o in outcomes)
    groups: dict[bytes, tuple[list[Any], list[UnitOutcome]]] = {} if by else {b"[]": ([], [])}
    for outcome in outcomes:
        values = [_value(outcome, key) for key in by]
        # As JSON text: settings may be lists and objects, and 1, 1.0 and true are three values.
        text = msgspec.json.encode(values, order="sorted")
        groups.setdefault(text, (values, []))[1].append(outcome)
    ordered = sorted(groups.items(), key=lambda item: ([_order(v) for v in item[1][0]], item[0]))
    asked = _Asked(tuple(means), level, reported)
    return [_row(dict(zip(by, values, strict=True)), members, asked) for _, (values, members) in ordered]


class _Asked(NamedTuple):
    """What every row is to have."""

    means: tuple[str, ...]
    level: float
    reported: bool
    """Whether any result says success."""


def _with_result_fields(outcomes: Sequence[UnitOutcome], names: Sequence[str]) -> tuple[list[UnitOutcome], list[str]]:
    """The outcomes with these fields of their first results, and those names that some result has."""
    if not names:
        return list(outcomes), []
    found: dict[str, None] = {}
    filled = []
    for outcome in outcomes:
        ended = outcome.read_first()
        fields = {name: value for name in names if (value := _field(ended.result if ended else None, name)) is not None}
        found.update(dict.fromkeys(fields))
        filled.append(msgspec.structs.replace(outcome, result_fields=fields))
    return filled, list(found)


def _field(result: Any, name: str) -> Any:
    """What stands there: at the name itself, else at the path `a.b`."""
    if not isinstance(result, dict):
        return None
    if name in result:
        return result[name]
    head, dot, rest = name.partition(".")
    return _field(result.get(head), rest) if dot else None


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest rank: the least of the values that `percent` % of them do not exceed. Needs them sorted.

    A time that was really measured, not one in between: with few tasks the difference is large.
    """
    if not ordered:
        return None
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def _row(group: dict[str, Any], units: Sequence[UnitOutcome], asked: _Asked) -> ResultsRow:
    level, reported = asked.level, asked.reported
    counts = dict.fromkeys(Status, 0)
    first, latest = Successes(), Successes()
    for unit in units:
        counts[unit.status] += 1
        first.count_first(unit.first_status, unit.first_success)
        latest.count_first(unit.status, unit.success)
        latest.count_latest(unit.success, unit.unclear)
    working = sorted(unit.working_s for unit in units if unit.working_s is not None)
    rated, undecided, scores = _by_task(units)
    found = rate(rated, level=level) if reported else None
    limits = bounds(rated, undecided, level=level) if reported else None
    repeats, passed = _passed(units) if reported else (1, None)
    score = mean(scores, level=level)
    again = [unit for unit in units if unit.infra_retries or unit.lost_workers]
    retried = Successes()
    for unit in again:
        retried.count_first(unit.first_status, unit.first_success)
    cost = sum_of(Cost(unit.cost, unit.unpriced_tokens) for unit in units)
    return ResultsRow(
        group=group,
        mixed=mixed(units, group),
        tasks=len({unit.task for unit in units}),
        units=len(units),
        **{str(status): count for status, count in counts.items()},
        decided=first.decided,
        rated=first.rated,
        rate=first.rate(reported),
        low=found.low if found else None,
        high=found.high if found else None,
        level=level,
        n_eff=found.n_eff if found else None,
        worst=limits.worst if limits else None,
        best=limits.best if limits else None,
        worst_low=limits.worst_low if limits else None,
        best_high=limits.best_high if limits else None,
        pass_k=repeats if repeats > 1 else None,
        pass_hat=passed,
        rate_latest=latest.rate(reported),
        success_rate=latest.successes / len(units) if reported and units else None,
        success_unclear=latest.unclear,
        success_example=latest.example,
        scorer=next((unit.scorer for unit in units if unit.scorer is not None), None),
        scored=sum(map(len, scores.values())),
        mean_score=score.value if score else None,
        score_low=_finite(score.low) if score else None,
        score_high=_finite(score.high) if score else None,
        means={name: _mean_of(units, name, level) for name in asked.means},
        mean_working_s=_mean(working),
        p50_working_s=percentile(working, 50),
        p95_working_s=percentile(working, 95),
        waiting_s=math.fsum(unit.waiting_s for unit in units if unit.waiting_s is not None),
        attempts=sum(unit.attempts for unit in units),
        retried=len(again),
        retried_rate=retried.rate(reported),
        usage=added(unit.usage for unit in units),
        cost=cost.dollars,
        unpriced_tokens=cost.unpriced,
    )


def _by_task(
    units: Sequence[UnitOutcome],
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, list[float]]]:
    """By the first outcomes: of each task the successes of its rated units, how many are undecided, and its scores."""
    rated: dict[str, list[float]] = {}
    undecided: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for unit in units:
        if (value := success_of(unit.first_status, unit.first_success)) is not None:
            rated.setdefault(unit.task, []).append(value)
        elif unit.first_status not in FINAL:
            undecided[unit.task] = undecided.get(unit.task, 0) + 1
        if (score := unit.first_score) is not None:
            scores.setdefault(unit.task, []).append(score)
    return rated, undecided, scores


def success_of(status: Status, success: bool | None) -> float | None:
    """What a unit counts with in a rate: 1 or 0. None: it is undecided, or ok without a known success."""
    if status is Status.OK:
        return None if success is None else float(success)
    return 0.0 if status in FINAL else None


def mixed(units: Iterable[UnitOutcome], but: Container[str] = ()) -> tuple[str, ...]:
    """What whole runs differ in: `worker`, and the names of settings; none of `but`."""
    setups = list({id(unit.setup): unit.setup for unit in units}.values())
    values: dict[str, set[bytes]] = {}
    for setup in setups if len(setups) > 1 else ():
        values.setdefault("worker", set()).add(setup.worker.encode())
    for name in dict.fromkeys(name for setup in setups for name in setup.settings) if len(setups) > 1 else ():
        values[name] = {msgspec.json.encode(setup.settings.get(name), order="sorted") for setup in setups}
    return tuple(name for name, found in values.items() if len(found) > 1 and name not in but)


def _passed(units: Sequence[UnitOutcome]) -> tuple[int, float | None]:
    """k, and pass^k. Repeats are of a task in one cell, by one worker with one setup: else they are other units."""
    names: dict[tuple[int, int], str] = {}
    tasks: dict[str, list[float]] = {}
    for unit in units:
        key = id(unit.setup), id(unit.cell)
        if key not in names:
            names[key] = msgspec.json.encode((unit.setup, unit.cell), order="sorted").decode()
        if (value := success_of(unit.first_status, unit.first_success)) is not None:
            tasks.setdefault(f"{names[key]}{unit.task}", []).append(value)
    k = min(map(len, tasks.values()), default=1)
    found = mean(each_task(pass_hat, k, tasks)) if k > 1 else None
    return k, found.value if found else None


def _mean_of(units: Sequence[UnitOutcome], name: str, level: float) -> Mean | None:
    values: dict[str, list[float]] = {}
    for unit in units:
        number = unit.result_fields.get(name)
        if isinstance(number, int | float) and math.isfinite(number):
            values.setdefault(unit.task, []).append(float(number))
    found = mean(values, level=level)
    if found is None:
        return None
    low, high = _finite(found.low), _finite(found.high)
    return Mean(value=found.value, low=low, high=high, tasks=found.tasks, units=found.units)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float | None:
    return _sum(values) / len(values) if values else None


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:  # two scores of 1e308: JSON has no word for more
        return math.copysign(sys.float_info.max, sum(math.copysign(1.0, value) for value in values))


def _known_keys(outcomes: Iterable[UnitOutcome]) -> list[str]:
    outcomes = list(outcomes)
    settings = {name for outcome in outcomes for name in outcome.settings}
    kept = {name for outcome in outcomes for name in outcome.kept} - settings - {*KEYS}
    runs = [RUN] if len({outcome.run for outcome in outcomes}) > 1 else []
    named = sorted(f"{SETTINGS_PREFIX}{name}" if name in KEYS else name for name in settings)
    further = [key for key in FURTHER_KEYS if key not in settings | kept]
    return [*runs, *KEYS, *further, *named, *sorted(kept)]


def _check(by: Sequence[str], means: Sequence[str], known: Sequence[str]) -> None:
    given = [key.removeprefix(SETTINGS_PREFIX) if key not in known else key for key in by]
    there = ", ".join(known)
    mistakes = [
        Mistake(f"‹by› {key}", "there is no such key", f"use one of {there}, or a field of the results")
        for key, plain in zip(by, given, strict=True)
        if plain not in known or (key != plain and plain in KEYS)
    ]
    mistakes += [
        Mistake(f"‹mean› {name}", "no result has such a field", "name a field that results have as a number")
        for name in means
        if name not in known
    ]
    for option, names in (("by", by), ("mean", means)):
        mistakes += [
            Mistake(f"‹{option}› {key}", f"is given {names.count(key)} times", "give it once")
            for key in dict.fromkeys(names)
            if names.count(key) > 1
        ]
    if mistakes:
        raise OptionsError(mistakes)


def _value(outcome: UnitOutcome, key: str) -> Any:
    """The key's value; None for a setting that this shard does not have."""
    if key in KEYS:
        value = getattr(outcome, key)
        return str(value) if key == "status" else value
    settings, plain = outcome.settings, key.removeprefix(SETTINGS_PREFIX)
    found = next((each for each in (settings, outcome.kept, outcome.result_fields) if key in each), {})
    if found:
        return found[key]
    if key in FURTHER_KEYS:
        attempt = outcome.outcome.attempt if outcome.outcome is not None else None
        further = {"worker": outcome.setup.worker, "lane": attempt.lane if attempt is not None else None}
        return further[key] if key in further else getattr(outcome.error, key.partition(".")[2], None)
    return outcome.run if key == RUN else settings.get(plain)


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text, then anything else; what is missing last."""
    if value is None:
        return 3, 0.0, ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")
