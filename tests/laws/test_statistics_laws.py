"""What must hold of every estimate, and what scipy and statsmodels say of the same numbers.

Both take two seconds to import: only the tests that ask them do, and those that ask statsmodels are for `make laws`.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.statistics.difference import newcombe, paired, paired_bounds, unpaired
from prealloc.statistics.rate import bounds, mean, rate
from prealloc.statistics.repeats import each_task, pass_at, pass_hat, spread
from prealloc.statistics.several import benjamini_hochberg, cochran_q, holm
from prealloc.statistics.size import (
    difference_shown,
    precision,
    shown_from,
    tasks_for_difference,
    tasks_for_half_width,
    variance_of_pairs,
    variance_with_repeats,
)

BIT = st.integers(0, 1)
UNITS = st.lists(BIT, min_size=1, max_size=5)


def named(values: Sequence[Sequence[float]]) -> dict[str, Sequence[float]]:
    return {f"t{n}": each for n, each in enumerate(values)}


TASKS = st.lists(UNITS, min_size=1, max_size=12).map(named)
PAIRS = st.lists(st.tuples(UNITS, UNITS), min_size=1, max_size=10).map(
    lambda pairs: (named([a for a, _ in pairs]), named([b for _, b in pairs]))
)


def twice(tasks: dict[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    return {task: [*values, *values] for task, values in tasks.items()}


@given(TASKS, st.randoms(use_true_random=False))
@examples(200)
def test_a_rate_lies_in_its_interval_whatever_the_order(tasks: dict[str, Sequence[float]], rng: random.Random) -> None:
    """0 <= low <= rate <= high <= 1; to give every unit once more, or in another order, changes nothing."""
    found = rate(tasks)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    shuffled = {task: rng.sample(list(tasks[task]), len(tasks[task])) for task in rng.sample(list(tasks), len(tasks))}
    for other in (rate(twice(tasks)), rate(shuffled)):
        assert other is not None
        assert (other.low, other.value, other.high) == pytest.approx((found.low, found.value, found.high), abs=1e-12)


@pytest.mark.in_laws
@given(TASKS)
@examples(100)
def test_a_rate_against_statsmodels(tasks: dict[str, Sequence[float]]) -> None:
    """The error is that of least squares with clusters; plain Wilson is scipy's, and t its quantile."""
    import scipy.stats
    import statsmodels.api as sm

    found = rate(tasks)
    assert found is not None
    rows = [(value, number) for number, values in enumerate(tasks.values()) for value in values]
    if len(tasks) > 1:
        # statsmodels' own correction is C/(C-1) * (N-1)/(N-1): the same.
        fit = sm.OLS([value for value, _ in rows], np.ones(len(rows))).fit(
            cov_type="cluster", cov_kwds={"groups": [number for _, number in rows]}
        )
        assert found.se == pytest.approx(float(fit.bse[0]), abs=1e-9)
    if all(len(set(values)) == 1 for values in tasks.values()) and len({len(v) for v in tasks.values()}) == 1:
        successes = sum(values[0] for values in tasks.values())
        low, high = scipy.stats.binomtest(int(successes), len(tasks)).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    elif len(tasks) > 1:
        n, t = found.n_eff, scipy.stats.t.ppf(0.975, len(tasks) - 1)
        middle = (found.value + t * t / (2 * n)) / (1 + t * t / n)
        assert (found.low + found.high) / 2 == pytest.approx(middle, abs=1e-9)


def test_a_rate_over_published_and_odd_tasks() -> None:
    """Figures worked out by hand: three tasks of two units; one that contradicts itself; nothing at all."""
    found = rate({"a": [1, 1], "b": [1, 0], "c": [0, 0]})
    assert found is not None
    assert (found.se, found.n_eff) == pytest.approx((0.2886751346, 3.0), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((0.0361712946, 0.9638287054), abs=1e-9)
    alone = rate({"a": [1, 1, 0, 1]})
    assert alone is not None
    assert (alone.value, alone.low, alone.high) == (0.75, 0.0, 1.0)
    assert rate({}) is None
    assert rate({"a": []}) is None


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=4), min_size=2, max_size=12).map(named))
@examples(100)
def test_a_mean_against_scipy(tasks: dict[str, Sequence[float]]) -> None:
    """The interval is Student's on the tasks' means."""
    import scipy.stats

    found = mean(tasks)
    assert found is not None
    means = [sum(values) / len(values) for values in tasks.values()]
    assert found.value == pytest.approx(np.mean(means), abs=1e-9)
    assert found.se == pytest.approx(scipy.stats.sem(means), abs=1e-9)
    half = scipy.stats.t.ppf(0.975, len(means) - 1) * scipy.stats.sem(means)
    assert (found.low, found.high) == pytest.approx((np.mean(means) - half, np.mean(means) + half), abs=1e-6)


@given(TASKS, st.lists(st.integers(0, 3), max_size=12))
@examples(100)
def test_bounds_hold_what_may_become_of_the_undecided(tasks: dict[str, Sequence[float]], undecided: list[int]) -> None:
    """worst <= rate <= best, and all equal where nothing is undecided."""
    missing = {f"t{n}": count for n, count in enumerate(undecided)}
    found, decided = bounds(tasks, missing), rate(tasks)
    assert found is not None
    assert decided is not None
    assert found.worst_low <= found.worst <= decided.value <= found.best <= found.best_high
    if not sum(undecided):
        assert found.worst == decided.value == found.best
        assert (found.worst_low, found.best_high) == (decided.low, decided.high)


@given(PAIRS)
@examples(200)
def test_a_difference_turned_round_is_its_negative(pairs: tuple[dict[str, Sequence[float]], ...]) -> None:
    """compare(A, B) = -compare(B, A); compare(A, A) is 0 with p 1 and a width; a copy of every unit changes nothing."""
    first, second = pairs
    found, back, same = paired(first, second), paired(second, first), paired(first, first)
    doubled = paired(twice(first), twice(second))
    assert found is not None
    assert back is not None
    assert same is not None
    assert doubled is not None
    assert (found.low, found.value, found.high) == pytest.approx((-back.high, -back.value, -back.low), abs=1e-12)
    assert (found.p, found.better, found.worse) == (pytest.approx(back.p), back.worse, back.better)
    assert (same.value, same.p, same.differ) == (0, 1, 0)
    assert same.low < 0 < same.high
    assert (found.low, found.high, found.p) == pytest.approx((doubled.low, doubled.high, doubled.p), abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1


@given(PAIRS)
@examples(100)
def test_a_task_that_both_fail_decides_nothing(pairs: tuple[dict[str, Sequence[float]], ...]) -> None:
    """It changes neither better, worse nor p."""
    first, second = pairs
    found = paired(first, second)
    more = paired({**first, "hopeless": [0]}, {**second, "hopeless": [0]})
    assert found is not None
    assert more is not None
    assert (found.better, found.worse, found.p) == (more.better, more.worse, pytest.approx(more.p))


@given(PAIRS)
@examples(100)
def test_signs_by_convolution_are_all_signs(pairs: tuple[dict[str, Sequence[float]], ...]) -> None:
    """p is counted over all 2^n ways to give n differences their signs; t and its error are scipy's."""
    import scipy.stats

    first, second = pairs
    found = paired(first, second)
    assert found is not None
    one, other = ([sum(values) / len(values) for values in side.values()] for side in (first, second))
    scale = 60  # of fractions of 1 to 5: all whole
    d = [round((a - b) * scale) for a, b in zip(one, other, strict=True)]
    sums = [abs(sum(map(math.prod, zip(signs, d, strict=True)))) for signs in itertools.product((-1, 1), repeat=len(d))]
    seen = abs(sum(d))
    beyond, at = sum(each > seen for each in sums) / len(sums), sums.count(seen) / len(sums)
    exact = beyond + at
    assert found.p_exact == pytest.approx(exact, abs=1e-12)
    assert found.p == pytest.approx(1.0 if not any(d) else beyond + at / 2, abs=1e-12)
    if len(set(d)) > 1:
        oracle = scipy.stats.ttest_rel(one, other)
        assert found.value / found.se == pytest.approx(oracle.statistic, rel=1e-6)


def test_pairs_as_published() -> None:
    """Newcombe 1998, table of (59, 6, 16, 80): -0.0621 (-0.1186 to -0.0046); McNemar's exact p is that of a coin."""
    import scipy.stats

    assert newcombe(59, 6, 16, 80) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    cells = [((1,), (1,))] * 59 + [((1,), (0,))] * 6 + [((0,), (1,))] * 16 + [((0,), (0,))] * 80
    found = paired(named([a for a, _ in cells]), named([b for _, b in cells]))
    assert found is not None
    assert found.value == pytest.approx(-10 / 161)
    assert (found.low, found.high) == pytest.approx(newcombe(59, 6, 16, 80))
    assert found.p_exact == pytest.approx(scipy.stats.binomtest(6, 6 + 16).pvalue, rel=1e-9)
    assert paired({"a": [1]}, {"b": [1]}) is None


def test_many_tasks_have_the_p_of_students_t() -> None:
    """Where all signs would take too long, p is the t test's."""
    import scipy.stats

    rng = random.Random(1)
    first = {f"t{n}": [rng.random() for _ in range(3)] for n in range(50)}
    second = {task: [value - 0.1 * rng.random() for value in values] for task, values in first.items()}
    found = paired(first, second, limits=None)
    assert found is not None
    means = [[sum(values) / 3 for values in side.values()] for side in (first, second)]
    oracle = scipy.stats.ttest_rel(*means)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6)
    interval = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.in_laws
@given(st.integers(1, 60), st.integers(1, 60), st.data())
@examples(60)
def test_two_groups_against_statsmodels(units: int, others: int, data: st.DataObject) -> None:
    """Newcombe's hybrid score interval, and Fisher's p."""
    import scipy.stats
    from statsmodels.stats.proportion import confint_proportions_2indep

    one, other = data.draw(st.integers(0, units)), data.draw(st.integers(0, others))
    found = unpaired(one, units, other, others)
    low, high = confint_proportions_2indep(one, units, other, others, method="newcomb")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert found.p == pytest.approx(scipy.stats.fisher_exact([[one, units - one], [other, others - other]]).pvalue)


def test_bounds_of_a_difference() -> None:
    """Undecided units count against the first and for the second, then the other way."""
    first = {"a": [1], "b": [1], "c": [], "d": [0]}
    second = {"a": [1], "b": [0], "c": [1], "d": []}
    assert paired_bounds(first, second, {"c": 1}, {"d": 1}) == (-1 / 4, 1 / 4)
    assert paired_bounds(first, second, {}, {}) == (0.5, 0.5)
    assert paired_bounds({}, second, {}, {}) is None


@pytest.mark.in_laws
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@examples(100)
def test_adjusted_p_against_statsmodels(p: list[float]) -> None:
    """holm >= p, bh <= holm, and both are statsmodels'."""
    from statsmodels.stats.multitest import multipletests

    strict, screened = holm(p), benjamini_hochberg(p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", int)  # it looks for garbage at each call, in all that it has loaded
        assert strict == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
        assert screened == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-12)
    assert all(each <= one + 1e-12 for each, one in zip(p, strict, strict=True))
    assert all(one <= each + 1e-12 for one, each in zip(screened, strict, strict=True))


@pytest.mark.in_laws
@given(st.lists(st.tuples(BIT, BIT, BIT), min_size=2, max_size=20))
@examples(60)
def test_cochrans_q_against_statsmodels(rows: list[tuple[int, ...]]) -> None:
    """Statistic, degrees of freedom and p; 0 and 1 where no task tells cells apart."""
    from statsmodels.stats.contingency_tables import cochrans_q

    statistic, df, p = cochran_q(rows)
    if all(len(set(row)) == 1 for row in rows):
        assert (statistic, df, p) == (0.0, 2, 1.0)
    else:
        oracle = cochrans_q(np.array(rows))
        assert (statistic, df, p) == pytest.approx((oracle.statistic, oracle.df, oracle.pvalue), abs=1e-9)


@given(st.integers(1, 8), st.data())
@examples(60)
def test_pass_k_against_the_hypergeometric(n: int, data: st.DataObject) -> None:
    """At least one, or all, of k repeats that are drawn without putting back; with k = 1 both are the rate."""
    import scipy.stats

    k, c = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    drawn = scipy.stats.hypergeom(n, c, k)
    assert pass_at(k, n, c) == pytest.approx(1 - drawn.pmf(0), abs=1e-9)
    assert pass_hat(k, n, c) == pytest.approx(drawn.pmf(k), abs=1e-9)
    tasks = named([[1] * c + [0] * (n - c), [1] * n])
    measures: list[Callable[[int, int, int], float]] = [pass_at, pass_hat]
    for measure in measures:
        found, whole = mean(each_task(measure, 1, tasks)), rate(tasks)
        assert found is not None
        assert whole is not None
        assert found.value == pytest.approx(whole.value)
        assert each_task(measure, n + 1, tasks) == {}


@given(st.integers(2, 5), st.integers(2, 10), st.data())
@examples(60)
def test_the_spread_is_that_of_variance_analysis(k: int, n: int, data: st.DataObject) -> None:
    """within is the mean square within tasks; between is what the mean square between tasks has beyond it, over k."""
    values = [data.draw(st.lists(BIT, min_size=k, max_size=k)) for _ in range(n)]
    found = spread(named(values))
    assert found is not None
    means = np.mean(values, axis=1)
    within = float(np.mean(np.var(values, axis=1, ddof=1)))
    assert found.within == pytest.approx(within, abs=1e-9)
    assert found.between == pytest.approx(max(0.0, float(np.var(means, ddof=1)) - within / k), abs=1e-9)
    assert 0 <= found.icc <= 1
    assert spread({"a": [1, 0]}) is None


def test_sizes() -> None:
    """Known sizes; a larger sample never shows less; what one function says the other turns round."""
    assert tasks_for_half_width(0.03) == 1068
    assert tasks_for_half_width(0.05, repeats=5, icc=0.5) == 231
    assert tasks_for_half_width(0.04, rate=0.6, repeats=3, icc=0.62, level=0.9) == 304
    assert tasks_for_difference(0.1, variance_of_pairs(0.25, 0.1)) == 189
    assert tasks_for_difference(0.05, variance_of_pairs(0.4, 0.05), power=0.9) == 1671
    assert tasks_for_difference(0.05, variance_with_repeats(0.03, 0.14, 0.16, 5)) == 283
    assert difference_shown(189, 0.24) == pytest.approx(0.0998340193, abs=1e-9)
    assert precision(20).half_width == pytest.approx(0.2007019918, abs=1e-9)
    assert precision(20).shown_from == pytest.approx(0.2654422053, abs=1e-9)
    for n in (5, 50, 500):
        d = shown_from(n)
        assert difference_shown(n, variance_of_pairs(0.25, d)) == pytest.approx(d)
        assert d > shown_from(n + 1)
