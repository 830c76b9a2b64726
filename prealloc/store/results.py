"""Results in numbers: outcomes grouped and counted. Pure arithmetic; the pictures are in results_view."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.answers import Setup
from prealloc.model.comparison import OutcomeOf
from prealloc.model.outcome import FINAL, Attempt, ErrorInfo, Status, Successes
from prealloc.model.plan import Unit
from prealloc.model.prices import Cost, Prices, cost_of, sum_of
from prealloc.model.tables import TASK, ResultsOptions
from prealloc.model.usage import Usage, added
from prealloc.model.words import shown
from prealloc.statistics.rate import bounds, mean, rate
from prealloc.statistics.repeats import each_task, pass_at, pass_hat
from prealloc.store.fold import Outcome, Tried, UnitState
from prealloc.store.later import Rerun, Retried, rerun_of, retried_of

KEYS = ("shard", "type", "task", "repeat", "status")
"""What outcomes can always be grouped by; the names of settings come on top."""
FURTHER_KEYS = ("error.type", "error.http_status", "lane", "worker")
"""What they can be grouped by too, unless a setting or a field has that name."""
RUN = "run"
"""The key of several runs: which of them a unit is of."""
LEAST_CLUSTERS = 5
"""With fewer groups of tasks an interval over groups says nothing."""
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
        first = self.first.attempt if self.first else None
        return first is not None and first.attempt > 1 and first.status in FINAL and first.status is not Status.CRASHED

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
    outcome: OutcomeOf
    """Of units that ran again after a final outcome: which of them the rate, the score and the means are of."""
    rate: float | None
    """Successes of these outcomes / `rated`. None if no result of the run says success: see Successes."""
    low: float | None
    """The interval that holds the true rate, at `level`; over `clusters`."""
    high: float | None
    level: float
    cluster: str
    """What the sample is made of: tasks, or what groups of tasks have in common."""
    clusters: int
    """How many of these the interval is over."""
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
    """The number of repeats that pass@k and pass^k are of: all that were planned, unless another was asked for."""
    pass_tasks: int
    """Tasks, each in its cell, of which so many repeats are decided: what these two are over."""
    pass_of: int
    """Tasks, each in its cell, of which so many were planned."""
    pass_at: float | None
    """pass@k: the share of tasks of which one of `pass_k` repeats or more succeeds: the mean over choices of these."""
    pass_hat: float | None
    """pass^k: the same for all of them."""
    rate_first: float | None
    """The rate by first outcomes."""
    rate_latest: float | None
    """The rate by latest outcomes: another number after `resume --failed` alone."""
    rerun: Rerun | None
    """What ran again after a final outcome; None: nothing did."""
    retried: Retried | None
    """What was tried again before its first outcome, against the rest; None: nothing was, or there is no rate."""
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
    asked: ResultsOptions
    left_out: int
    """Rows behind the first that were asked for."""


EVERYTHING = ResultsOptions()


def tabulate(outcomes: Iterable[UnitOutcome], asked: ResultsOptions = EVERYTHING) -> Results:
    """The rows of `aggregate`, sorted and cut as asked, and the row that it gives without keys."""
    outcomes = list(outcomes)
    rows = aggregate(outcomes, asked)
    whole = msgspec.structs.replace(asked, by=(), sort=None)
    total = aggregate(outcomes, whole)[0] if asked.by else rows[0]
    if asked.sort is not None:
        rows = sorted_rows(rows, asked.sort)
    first_rows = rows[: asked.top]
    return Results(rows=first_rows, total=total, asked=asked, left_out=len(rows) - len(first_rows))


def aggregate(outcomes: Iterable[UnitOutcome], asked: ResultsOptions = EVERYTHING) -> list[ResultsRow]:
    """One row per combination of the keys' values, in their order; without keys one row for everything.

    Keys are those of KEYS and FURTHER_KEYS, `run` where there are several, the names of settings (`settings.NAME` where
    the name is also one of KEYS), the kept fields that the outcomes have, and any field of a result; `a.b` is b in the
    object a. Means are of fields of results, kept fields and settings. Raises OptionsError for what is not there,
    listing what is.
    """
    outcomes = list(outcomes)
    by = asked.by
    keys = (*by, *([asked.cluster] if asked.cluster != TASK else []))
    known = _known_keys(outcomes)
    known += _paths(outcomes, [name for name in keys if name not in known])
    outcomes, found = _with_result_fields(outcomes, [name for name in keys if name not in known])
    outcomes, fields = _with_numbers(outcomes, asked.mean)
    _check(asked, [*known, *found], fields)
    # Decided once for the whole run: groups judged by different rules could not be compared.
    reported = any(o.success is not None or o.first_success is not None for o in outcomes)
    groups: dict[bytes, tuple[list[Any], list[UnitOutcome]]] = {} if by else {b"[]": ([], [])}
    for outcome in outcomes:
        values = [_value(outcome, key) for key in by]
        # As JSON text: settings may be lists and objects, and 1, 1.0 and true are three values.
        text = msgspec.json.encode(values, order="sorted")
        groups.setdefault(text, (values, []))[1].append(outcome)
    ordered = sorted(groups.items(), key=lambda item: ([_order(v) for v in item[1][0]], item[0]))
    return [_row(dict(zip(by, values, strict=True)), members, asked, reported) for _, (values, members) in ordered]


COLUMNS = {
    "success": "rate",
    "latest": "rate_latest",
    "score": "mean_score",
    "mean": "mean_working_s",
    "p50": "p50_working_s",
    "p95": "p95_working_s",
    "waited": "waiting_s",
    "oom": "out_of_memory",
}
"""Columns of the table that have another name than in JSON."""


def sorted_rows(rows: Sequence[ResultsRow], column: str) -> list[ResultsRow]:
    """The rows by a column, as the table or JSON names it: the largest first, or with - before it the smallest.

    What has no value comes last. Raises OptionsError for any other name.
    """
    name, up = column.removeprefix("-"), column.startswith("-")
    if not rows:
        return []
    field = COLUMNS.get(name, name)
    if name in rows[0].group:
        values = [row.group[name] for row in rows]
    elif name in rows[0].means:
        values = [field_mean.value if (field_mean := row.means[name]) is not None else None for row in rows]
    elif field in _NUMBERS:
        values = [getattr(row, field) for row in rows]
    else:
        there = ", ".join([*rows[0].group, *rows[0].means, *(each for each in COLUMNS), *_NUMBERS])
        raise OptionsError([Mistake("‹sort›", f"there is no column {shown(name)}", f"use one of {there}")])
    pairs = list(zip(values, rows, strict=True))
    known = sorted((pair for pair in pairs if pair[0] is not None), key=lambda pair: _order(pair[0]), reverse=not up)
    return [row for _, row in known] + [row for value, row in pairs if value is None]


_NUMBERS = (
    *("tasks", "units", *(status.value for status in Status), "decided", "rated", "rate", "low", "high", "n_eff"),
    *("worst", "best", "pass_at", "pass_hat", "rate_first", "rate_latest", "success_rate", "mean_score"),
    *("mean_working_s", "p50_working_s", "p95_working_s", "waiting_s", "attempts"),
)
"""Fields of a row that are numbers to sort by."""


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


def _with_numbers(outcomes: Sequence[UnitOutcome], names: Sequence[str]) -> tuple[list[UnitOutcome], set[str]]:
    """The outcomes with the numbers that these fields have, and those names of which some unit has a value.

    A field is one of the result, else a kept one of the task, else a setting.
    """
    if not names:
        return list(outcomes), set()
    found: set[str] = set()
    filled = []
    for outcome in outcomes:
        ended = outcome.read_first()
        places = (ended.result if ended else None, outcome.kept, outcome.settings)
        values = {name: [_field(place, name.removeprefix(SETTINGS_PREFIX)) for place in places] for name in names}
        first = {name: next((value for value in each if value is not None), None) for name, each in values.items()}
        numbers = {
            name: float(value)
            for name, value in first.items()
            if isinstance(value, int | float) and abs(value) <= sys.float_info.max
        }
        found.update(name for name, value in first.items() if value is not None)
        filled.append(msgspec.structs.replace(outcome, numbers=numbers))
    return filled, found


def _paths(outcomes: Iterable[UnitOutcome], names: Iterable[str]) -> list[str]:
    """Those of the names that are paths into a kept field or a setting."""
    dotted = [name for name in names if "." in name]
    every = list(outcomes) if dotted else []
    return [name for name in dotted if any(_in_object(outcome, name) is not None for outcome in every)]


def _in_object(outcome: UnitOutcome, name: str) -> Any:
    """What stands at a path in a setting or a kept field."""
    found = _field(outcome.settings, name)
    return _field(outcome.kept, name) if found is None else found


def _field(place: Any, name: str) -> Any:
    """What stands there: at the name itself, else at the path `a.b`; a number is a place in a list."""
    head, dot, rest = name.partition(".")
    if isinstance(place, list):
        found = place[int(head)] if head.isdecimal() and len(head) < 10 and int(head) < len(place) else None
        return _field(found, rest) if dot else found
    if not isinstance(place, dict):
        return None
    if name in place:
        return place[name]
    return _field(place.get(head), rest) if dot else None


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest rank: the least of the values that `percent` % of them do not exceed. Needs them sorted.

    A time that was really measured, not one in between: with few tasks the difference is large.
    """
    if not ordered:
        return None
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def _row(group: dict[str, Any], units: Sequence[UnitOutcome], asked: ResultsOptions, reported: bool) -> ResultsRow:
    """`reported`: some result of the whole run says success."""
    level = asked.level
    counts = dict.fromkeys(Status, 0)
    first, latest = Successes(), Successes()
    for unit in units:
        counts[unit.status] += 1
        first.count_first(unit.first_status, unit.first_success)
        latest.count_first(unit.status, unit.success)
        latest.count_latest(unit.success, unit.unclear)
    headline = first if asked.outcome == "first" else latest
    working = sorted(unit.working_s for unit in units if unit.working_s is not None)
    judged = [(unit, *_judged(unit, asked.outcome)) for unit in units]
    rated, undecided, scores = _by_cluster(judged, asked, group)
    found = rate(rated, level=level) if reported else None
    limits = bounds(rated, undecided, level=level) if reported else None
    passed = _passed(judged, asked.pass_k) if reported else _Passed()
    score = mean(scores, level=level)
    again = [(unit.first_success, unit.success) for unit in units if unit.first != unit.outcome and unit.first]
    tries = [(unit.was_retried, value) for unit in units if (value := _success(unit, "first")) is not None]
    cost = sum_of(Cost(unit.cost, unit.unpriced_tokens) for unit in units)
    return ResultsRow(
        group=group,
        mixed=mixed(units, group),
        tasks=len({unit.task for unit in units}),
        units=len(units),
        **{str(status): count for status, count in counts.items()},
        decided=headline.decided,
        rated=headline.rated,
        outcome=asked.outcome,
        rate=headline.rate(reported),
        low=found.low if found else None,
        high=found.high if found else None,
        level=level,
        cluster=asked.cluster,
        clusters=len(rated),
        n_eff=found.n_eff if found else None,
        worst=limits.worst if limits else None,
        best=limits.best if limits else None,
        worst_low=limits.worst_low if limits else None,
        best_high=limits.best_high if limits else None,
        pass_k=passed.k,
        pass_tasks=passed.tasks,
        pass_of=passed.of,
        pass_at=passed.at,
        pass_hat=passed.hat,
        rate_first=first.rate(reported),
        rate_latest=latest.rate(reported),
        rerun=rerun_of(again),
        retried=retried_of(tries, level=level) if reported else None,
        success_rate=latest.successes / len(units) if reported and units else None,
        success_unclear=latest.unclear,
        success_example=latest.example,
        scorer=next((unit.scorer for unit in units if unit.scorer is not None), None),
        scored=sum(map(len, scores.values())),
        mean_score=score.value if score else None,
        score_low=_finite(score.low) if score else None,
        score_high=_finite(score.high) if score else None,
        means={name: _mean_of(units, name, asked) for name in asked.mean},
        mean_working_s=_mean(working),
        p50_working_s=percentile(working, 50),
        p95_working_s=percentile(working, 95),
        waiting_s=math.fsum(unit.waiting_s for unit in units if unit.waiting_s is not None),
        attempts=sum(unit.attempts for unit in units),
        usage=added(unit.usage for unit in units),
        cost=cost.dollars,
        unpriced_tokens=cost.unpriced,
    )


def _judged(unit: UnitOutcome, outcome: OutcomeOf) -> tuple[Status, bool | None, float | None]:
    """Status, success and score of the outcome that is asked for."""
    if outcome == "first":
        return unit.first_status, unit.first_success, unit.first_score
    return unit.status, unit.success, unit.score


def _success(unit: UnitOutcome, outcome: OutcomeOf) -> float | None:
    status, success, _ = _judged(unit, outcome)
    return success_of(status, success)


_Judged = Sequence[tuple[UnitOutcome, Status, bool | None, float | None]]


def _by_cluster(
    judged: _Judged, asked: ResultsOptions, group: Mapping[str, Any]
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, list[float]]]:
    """Of each cluster the successes of its rated units, how many are undecided, and its scores.

    Raises OptionsError if there are too few clusters to say anything of others.
    """
    rated: dict[str, list[float]] = {}
    undecided: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for unit, status, success, score in judged:
        name = cluster_of(unit, asked.cluster)
        if (value := success_of(status, success)) is not None:
            rated.setdefault(name, []).append(value)
        elif status not in FINAL:
            undecided[name] = undecided.get(name, 0) + 1
        if score is not None:
            scores.setdefault(name, []).append(score)
    if asked.cluster != TASK and rated and len(rated) < LEAST_CLUSTERS:
        where = ", ".join(f"{name} {_plain(value)}" for name, value in group.items())
        problem = (
            f"{asked.cluster} has {len(rated)} values{f' in {where}' if where else ''}: too few to say how others do"
        )
        raise OptionsError(
            [Mistake("‹cluster›", problem, f"{LEAST_CLUSTERS} are needed; omit it for intervals over tasks")]
        )
    return rated, undecided, scores


def cluster_of(unit: UnitOutcome, key: str) -> str:
    """What a unit is one of many of: its task, or the value of this key."""
    return unit.task if key == TASK else msgspec.json.encode(_value(unit, key), order="sorted").decode()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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


class _Passed(NamedTuple):
    k: int | None = None
    tasks: int = 0
    of: int = 0
    at: float | None = None
    hat: float | None = None


def _passed(judged: _Judged, k: int | None) -> _Passed:
    """pass@k and pass^k. Repeats are of a task in one cell, by one worker with one setup: else they are other units."""
    names: dict[tuple[int, int], str] = {}
    tasks: dict[str, list[float]] = {}
    planned: Counter[str] = Counter()
    for unit, status, success, _ in judged:
        key = id(unit.setup), id(unit.cell)
        if key not in names:
            names[key] = msgspec.json.encode((unit.setup, unit.cell), order="sorted").decode()
        name = f"{names[key]}{unit.task}"
        planned[name] += 1
        if (value := success_of(status, success)) is not None:
            tasks.setdefault(name, []).append(value)
    if k is None:
        k = max(planned.values(), default=1)
        if k == 1:
            return _Passed()
    at, hat = (each_task(measure, k, tasks) for measure in (pass_at, pass_hat))
    of = sum(count >= k for count in planned.values())
    return _Passed(k, len(at), of, *(found.value if (found := mean(each)) else None for each in (at, hat)))


def _mean_of(units: Sequence[UnitOutcome], name: str, asked: ResultsOptions) -> Mean | None:
    values: dict[str, list[float]] = {}
    for unit in units:
        if (number := unit.numbers.get(name)) is not None:
            values.setdefault(cluster_of(unit, asked.cluster), []).append(number)
    found = mean(values, level=asked.level)
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


def _check(asked: ResultsOptions, known: Sequence[str], fields: Container[str]) -> None:
    there = ", ".join(dict.fromkeys(known))
    keys = [("by", key) for key in asked.by] + ([("cluster", asked.cluster)] if asked.cluster != TASK else [])
    mistakes = [
        Mistake(f"‹{option}› {key}", "there is no such key", f"use one of {there}, or a field of the results")
        for option, key in keys
        if not _is_known(key, known)
    ]
    mistakes += [
        Mistake(f"‹mean› {name}", "there is no such field", "name a field that results or tasks have as a number")
        for name in asked.mean
        if name not in fields
    ]
    for option, names in (("by", asked.by), ("mean", asked.mean)):
        mistakes += [
            Mistake(f"‹{option}› {key}", f"is given {names.count(key)} times", "give it once")
            for key in dict.fromkeys(names)
            if names.count(key) > 1
        ]
    if mistakes:
        raise OptionsError(mistakes)


def _is_known(key: str, known: Sequence[str]) -> bool:
    plain = key if key in known else key.removeprefix(SETTINGS_PREFIX)
    return plain in known and not (key != plain and plain in KEYS)


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
    if key == RUN and key not in settings:
        return outcome.run
    return settings[plain] if plain in settings else _in_object(outcome, key)


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text, then anything else; what is missing last."""
    if value is None:
        return 3, 0.0, ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")
