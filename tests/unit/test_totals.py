"""What a whole run came to: over every planned unit, and the same as `prealloc results` says."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.model.outcome import FINAL, AttemptInfo, ErrorInfo, Status, Successes
from prealloc.model.plan import Unit
from prealloc.model.questions import ResultsOptions
from prealloc.store.fold import Outcome, RunState, UnitState
from prealloc.store.results import aggregate
from prealloc.store.totals import ERRORS_SHOWN, first_line, totals
from prealloc.store.unit_outcome import unit_outcome


def outcome(status: Status = Status.OK, working_s: float = 1.0, success: bool | None = None, text: str = "") -> Outcome:
    error = None if status is Status.OK else ErrorInfo(type="E", message=text)
    info = AttemptInfo(
        shard="s0",
        task="t0",
        repeat=0,
        attempt=1,
        status=status,
        started_at=0.0,
        queued_s=0.0,
        waiting_s=0.0,
        working_s=working_s,
        peak_rss=0,
        success=success,
        error=error,
    )
    return Outcome(info, Path("j"), 0, 0)


def state(outcomes: list[Outcome | None], first: list[Outcome | None] | None = None) -> RunState:
    units = {}
    for number, (latest, before) in enumerate(zip(outcomes, first or outcomes, strict=True)):
        final = latest is not None and latest.attempt.status in FINAL
        units[Unit("s0", f"t{number}", 0)] = (
            UnitState(first=before, latest=latest, open=False) if final else UnitState(unfinished=latest)
        )
    return RunState(units, 1, 0, [])


OUTCOMES = st.builds(
    outcome,
    st.sampled_from([status for status in Status if status is not Status.NOT_RUN]),
    st.floats(0, 9),
    st.sampled_from([None, True, False]),
    st.sampled_from(["", "a", "b\nc"]),
)


@examples(100)
@given(st.lists(st.tuples(st.one_of(st.none(), OUTCOMES), st.sampled_from("xyz")), max_size=12))
def test_the_end_says_what_results_say(told: list[tuple[Outcome | None, str]]) -> None:
    """Law 5: the denominator is every planned unit; types, errors and slowest units are of the whole run."""
    folded = state([each for each, _ in told])
    types = [type for _, type in told]
    made = totals(folded, types)
    rows = aggregate(
        [unit_outcome(unit, type, {}, each) for (unit, each), type in zip(folded.units.items(), types, strict=True)],
        ResultsOptions(by=("type",)),
    )
    assert sorted((t.type, t.units, t.ok) for t in made.types) == [(r.group["type"], r.units, r.ok) for r in rows]
    assert {t.type: (t.rate, t.success.rated) for t in made.types} == {r.group["type"]: (r.rate, r.rated) for r in rows}
    whole = Successes()
    for each in made.types:
        whole.add(each.success)
    assert whole == made.success
    ended = [each for each, _ in told if each is not None]
    assert sum(kind.units for kind in made.errors) == sum(each.attempt.status is not Status.OK for each in ended)
    assert [slow.working_s for slow in made.slowest] == sorted(
        (each.attempt.working_s for each in ended), reverse=True
    )[:5]


def test_the_most_frequent_errors_are_told_and_the_others_counted() -> None:
    """Messages that differ in every task do not hide the one that is everywhere, wherever it first comes."""
    odd = [outcome(Status.FAILED, text=f"id {number}") for number in range(500)]
    common = [outcome(Status.FAILED, text="\nthe same\nbut for this line")] * 30
    made = totals(state([*odd, *common]), ["x"] * 530)
    assert (made.errors[0].message, made.errors[0].units, made.errors[0].example) == ("the same", 30, "s0/t500#0")
    assert len(made.errors) == ERRORS_SHOWN
    assert made.further_errors == 500 - (ERRORS_SHOWN - 1)


def test_the_rate_is_of_first_outcomes() -> None:
    """A unit that failed first stays no success, whatever `resume --failed` made of it."""
    made = totals(state([outcome(success=True)] * 2, [outcome(Status.FAILED), outcome(success=True)]), ["x", "x"])
    assert (made.success.successes, made.success.rated, made.types[0].rate) == (1, 2, 0.5)


@given(st.text())
def test_a_message_is_one_line(text: str) -> None:
    """The first line that is not blank stands for a message."""
    assert "\n" not in first_line(text)
    assert bool(first_line(text)) == bool(text[:800].strip())


def test_factors_are_summed_over_their_cells() -> None:
    """Each value of a factor with several, in the plan's order; 1 and true are two values; rates as of any units."""
    ok, bad = outcome(success=True), outcome(Status.FAILED)
    units = {}
    for shard, latest in (("a", ok), ("a", bad), ("b", ok), ("c", ok)):
        units[Unit(shard, f"t{len(units)}", 0)] = UnitState(first=latest, latest=latest, open=False)
    cells = {"a": {"model": 1, "mode": "x"}, "b": {"model": True, "mode": "x"}, "c": {"model": 1, "mode": "x"}}
    found = totals(
        RunState(units, 1, 0, []), ["t"] * 4, factors={"model": (True, 1), "mode": ("x",)}, cells=cells
    ).factors
    assert [(each.factor, each.value, each.units, each.ok, each.rate) for each in found] == [
        ("model", True, 1, 1, 1.0),
        ("model", 1, 3, 2, 2 / 3),
    ]
