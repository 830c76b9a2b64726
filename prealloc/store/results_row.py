"""One group of units in numbers. Pure arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.json_value import canonical, plain
from prealloc.model.outcome import FINAL, Status, Successes
from prealloc.model.prices import Cost, sum_of
from prealloc.model.questions import TASK, OutcomeOf, ResultsOptions
from prealloc.model.usage import Usage, added
from prealloc.statistics.rate import Bounds, Estimate, bounds, mean, rate
from prealloc.statistics.repeats import each_task, pass_at, pass_hat
from prealloc.store.keys import cluster_of
from prealloc.store.later import Rerun, Retried, rerun_of, retried_of
from prealloc.store.unit_outcome import Judged, UnitOutcome, judged, mixed

LEAST_CLUSTERS = 5
"""With fewer groups of tasks an interval over groups says nothing."""


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


def row_of(group: dict[str, Any], units: Sequence[UnitOutcome], asked: ResultsOptions, reported: bool) -> ResultsRow:
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
    counted = [(unit, judged(unit, asked.outcome)) for unit in units]
    rated, undecided, scores = _by_cluster(counted, asked, group)
    found = rate(rated, level=level) if reported else None
    limits = bounds(rated, undecided, level=level) if reported else None
    passed = _passed(counted, asked.pass_k) if reported else _Passed()
    score = mean(scores, level=level)
    again = [(unit.first_success, unit.success) for unit in units if unit.first != unit.outcome and unit.first]
    tries = [(unit.was_retried, value) for unit in units if (value := judged(unit).rated) is not None]
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
        level=level,
        cluster=asked.cluster,
        clusters=len(rated),
        **_these(found, "low", "high", "n_eff"),
        **_these(limits, "worst", "best", "worst_low", "best_high"),
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
        mean_working_s=math.fsum(working) / len(working) if working else None,
        p50_working_s=percentile(working, 50),
        p95_working_s=percentile(working, 95),
        waiting_s=math.fsum(unit.waiting_s for unit in units if unit.waiting_s is not None),
        attempts=sum(unit.attempts for unit in units),
        usage=added(unit.usage for unit in units),
        cost=cost.dollars,
        unpriced_tokens=cost.unpriced,
    )


def _these(found: Estimate | Bounds | None, *names: str) -> dict[str, Any]:
    """These numbers of what was found; None each, if nothing was."""
    return {name: getattr(found, name, None) for name in names}


def _by_cluster(
    counted: Sequence[tuple[UnitOutcome, Judged]], asked: ResultsOptions, group: Mapping[str, Any]
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, list[float]]]:
    """Of each cluster the successes of its rated units, how many are undecided, and its scores.

    Raises OptionsError if there are too few clusters to say anything of others.
    """
    rated: dict[str, list[float]] = {}
    undecided: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for unit, found in counted:
        name = cluster_of(unit, asked.cluster)
        if (value := found.rated) is not None:
            rated.setdefault(name, []).append(value)
        elif found.status not in FINAL:
            undecided[name] = undecided.get(name, 0) + 1
        if found.score is not None:
            scores.setdefault(name, []).append(found.score)
    if asked.cluster != TASK and rated and len(rated) < LEAST_CLUSTERS:
        where = ", ".join(f"{name} {plain(value)}" for name, value in group.items())
        there = f"{len(rated)} values{f' in {where}' if where else ''}"
        problem = f"{asked.cluster} has {there}: too few to say how others do"
        hint = f"{LEAST_CLUSTERS} are needed; omit it for intervals over tasks"
        raise OptionsError([Mistake("‹cluster›", problem, hint)])
    return rated, undecided, scores


class _Passed(NamedTuple):
    k: int | None = None
    tasks: int = 0
    of: int = 0
    at: float | None = None
    hat: float | None = None


def _passed(counted: Sequence[tuple[UnitOutcome, Judged]], k: int | None) -> _Passed:
    """pass@k and pass^k. Repeats are of a task in one cell, by one worker with one setup: else they are other units."""
    names: dict[tuple[int, int], str] = {}
    tasks: dict[str, list[float]] = {}
    planned: Counter[str] = Counter()
    for unit, each in counted:
        key = id(unit.setup), id(unit.cell)
        if key not in names:
            names[key] = canonical((unit.setup, unit.cell))
        name = f"{names[key]}{unit.task}"
        planned[name] += 1
        if (value := each.rated) is not None:
            tasks.setdefault(name, []).append(value)
    if k is None:
        k = max(planned.values(), default=1)
        if k == 1:
            return _Passed()
    at, hat = (each_task(measure, k, tasks) for measure in (pass_at, pass_hat))
    of = sum(count >= k for count in planned.values())
    return _Passed(k, len(at), of, *(found.value if (found := mean(values)) else None for values in (at, hat)))


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


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest rank: the least of the values that `percent` % of them do not exceed. Needs them sorted.

    A time that was really measured, not one in between: with few tasks the difference is large.
    """
    if not ordered:
        return None
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
