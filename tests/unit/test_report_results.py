"""Results: groups, denominators and files, checked by hand."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from run_events import attempt_line

from prealloc.errors import OptionsError
from prealloc.model.answers import Setup
from prealloc.model.outcome import Status
from prealloc.model.questions import ResultsOptions
from prealloc.report.results_view import markdown, print_results, render_results, results_text
from prealloc.statistics.difference import unpaired
from prealloc.statistics.normal import z_of
from prealloc.statistics.rate import wilson
from prealloc.store.fold import Outcome
from prealloc.store.later import Rerun
from prealloc.store.results import aggregate, tabulate
from prealloc.store.results_row import percentile
from prealloc.store.unit_outcome import UnitOutcome


def by(*keys: str, **options: object) -> ResultsOptions:
    return ResultsOptions(by=keys, **options)  # type: ignore[arg-type]


def unit(task: str, status: Status = Status.OK, **other: object) -> UnitOutcome:
    fields: dict[str, object] = {"shard": "s0", "type": "t", "repeat": 0, "first_status": status}
    fields["first_score"] = other.get("score")
    return UnitOutcome(task=task, status=status, **(fields | other))  # type: ignore[arg-type]


FOUR = [
    unit("a", success=True, first_success=True, score=1.0, working_s=1.0, waiting_s=0.5, settings={"m": "x"}),
    unit("b", success=False, first_success=False, score=0.5, working_s=3.0, settings={"m": "x"}),
    unit("c", success=True, first_status=Status.FAILED, working_s=2.0, attempts=2, settings={"m": "y"}),
    unit("d", Status.NOT_RUN, settings={"m": "y"}),
]


def test_the_denominator_is_every_unit() -> None:
    """At first one of three that were decided succeeded; by now it is two of them, and two of four in all."""
    (row,) = aggregate(FOUR)
    assert (row.units, row.ok, row.not_run) == (4, 3, 1)
    assert (row.decided, row.rated, row.rate, row.rate_latest) == (3, 3, 1 / 3, 2 / 3)
    assert row.success_rate == 0.5
    assert (row.scored, row.mean_score) == (2, 0.75)
    assert (row.mean_working_s, row.p50_working_s, row.p95_working_s) == (2.0, 2.0, 3.0)
    assert (row.waiting_s, row.attempts) == (0.5, 2)


def test_groups_by_a_setting() -> None:
    """Each group has its own sums, and together they are the whole."""
    rows = aggregate(FOUR, by("m"))
    assert [(row.group, row.units, row.success_rate) for row in rows] == [
        ({"m": "x"}, 2, 0.5),
        ({"m": "y"}, 2, 0.5),
    ]
    assert [(row.decided, row.rate) for row in rows] == [(2, 0.5), (1, 0.0)]


def test_without_success_there_is_no_rate() -> None:
    """If no result says `success`, every rate is null and the table says how to return one: ok is no success."""
    found = tabulate([unit("a", unclear='"no"'), unit("b"), unit("c", Status.TIMEOUT)])
    rows = found.rows
    assert (rows[0].rate, rows[0].rate_latest, rows[0].success_rate) == (None, None, None)
    for form in ("json", "jsonl", "csv", "table"):
        text = results_text(rows, form) if form != "table" else render_results(found).text()
        assert "100" not in text
        assert "66" not in text
    *_, how, unclear = render_results(found).text().splitlines()
    assert how == 'no result says success: return {"success": true} or false to get a rate'
    assert unclear == '1 unit returned a success that is neither yes nor no, e.g. "no"'


def test_units_that_do_not_say_are_beside_the_rate() -> None:
    """Where some results say success, the rate is over those and the ones that did not end ok; the rest are counted."""
    yes = {"success": True, "first_success": True}
    units = [unit("a", **yes), unit("b"), unit("c", Status.CRASHED), unit("d", type="y"), unit("e", Status.INFRA)]
    rows = aggregate(units, by("type"))
    assert [(row.decided, row.rated, row.rate) for row in rows] == [(3, 2, 0.5), (1, 0, None)]
    first, titles, *lines = render_results(tabulate(units, by("type"))).text().splitlines()
    assert first == "incomplete: 1 of 5 units has no outcome"
    shown = [dict(zip(re.split(" {2,}", titles), line.split(), strict=False)) for line in (*lines[:2], lines[3])]
    assert [(row["success"], row["unknown"], row["infra"]) for row in shown] == [
        ("50.0%", "1", "1"),
        ("-", "1", "0"),
        ("50.0%", "2", "1"),
    ]
    assert lines[4] == "2 ok units with no known success: not in the rate"


def test_no_units_are_no_rate() -> None:
    """Nothing divided by nothing is not known."""
    (row,) = aggregate([])
    assert (row.units, row.success_rate, row.rate, row.p50_working_s) == (0, None, None, None)
    assert aggregate([], by("type")) == []


def test_unknown_keys_are_refused_with_those_there_are() -> None:
    """All wrong keys at once, and what could be used instead."""
    with pytest.raises(OptionsError) as caught:
        aggregate(FOUR, by("model", "type", "type", "nope"))
    assert [m.where for m in caught.value.mistakes] == ["‹by› model", "‹by› nope", "‹by› type"]
    there = "shard, type, task, repeat, status, error.type, error.http_status, lane, worker, m"
    assert caught.value.mistakes[0].hint == f"use one of {there}, or a field of the results"


def test_a_setting_with_a_taken_name() -> None:
    """`type` is the task's type; the setting of that name is `settings.type`."""
    units = [unit("a", settings={"type": 1}), unit("b", settings={"type": 2})]
    assert [row.group for row in aggregate(units, by("type"))] == [{"type": "t"}]
    assert [row.group for row in aggregate(units, by("settings.type"))] == [
        {"settings.type": 1},
        {"settings.type": 2},
    ]


def test_values_are_ordered_as_people_do() -> None:
    """Numbers by size, then text, then the rest, what is missing last; 1 and true are two values."""
    values = [True, "b", 10, [1], 9, "a", 1]
    units = [unit(str(v), settings={"v": v}) for v in values] + [unit("none")]
    shown = [row.group["v"] for row in aggregate(units, by("v"))]
    assert repr(shown) == repr([1, 9, 10, "a", "b", [1], True, None])


def test_percentiles_are_nearest_ranks() -> None:
    """The least value that so many percent do not exceed."""
    ten = [float(n) for n in range(1, 11)]
    assert [percentile(ten, p) for p in (50, 90, 95, 100)] == [5.0, 9.0, 10.0, 10.0]
    assert percentile([7.0], 50) == 7.0
    assert percentile([], 50) is None


def test_files_keep_every_value() -> None:
    """JSON, JSON lines and CSV hold the same rows; CSV quotes what needs it."""
    ugly = 'a,"b"\nc'
    rows = aggregate([unit("a", settings={"ok": ugly, "n": [1, 2]})], by("ok", "n"))
    (as_json,) = json.loads(results_text(rows, "json"))
    assert as_json["group"] == {"ok": ugly, "n": [1, 2]}
    assert [json.loads(line) for line in results_text(rows, "jsonl").splitlines()] == [as_json]
    header, line = csv.reader(io.StringIO(results_text(rows, "csv"), newline=""))
    assert header[:5] == ["settings.ok", "n", "tasks", "units", "ok"]
    assert line[:4] == [ugly, "[1,2]", "1", "1"]
    assert len(set(header)) == len(header)
    with pytest.raises(OptionsError):
        results_text(rows, "xml")


def test_a_terminal_gets_no_control_characters() -> None:
    """CSV in a file is what it is; on a terminal it is shown with escapes."""
    found = tabulate([unit("a\x1b[31m")], by("task"))
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
        print_results(found, console, form="csv")
        print_results(found, console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert text.count("\x1b") == (0 if terminal else 1)


def test_the_table() -> None:
    """A row per group, the whole below a line; statuses that never happened take no room."""
    text = render_results(tabulate(FOUR, by("m"))).text(120)
    lines = text.splitlines()
    assert lines[0] == "incomplete: 1 of 4 units has no outcome"
    assert lines[1].split()[:9] == ["m", "units", "ok", "not_run", "success", "95%", "CI", "bounds", "latest"]
    assert lines[2].split()[:8] == ["x", "2", "2", "0", "50.0%", "9..91%", "50..50%", "50.0%"]
    assert lines[-1] == "score: over the 2 of 3 decided units that have one"
    assert lines[-2].split()[:8] == ["all", "4", "3", "1", "33.3%", "6..79%", "25..50%", "66.7%"]
    assert "failed" not in lines[1]


def test_intervals_are_over_tasks() -> None:
    """Repeats, and the cells that a row pools, make a task no other task: its interval is that of 10 tasks, not 40."""
    of = {"success": True}
    units = [
        unit(f"t{task}", cell={"c": cell}, repeat=repeat, first_success=task < 7, score=task / 10, **of)
        for task in range(10)
        for cell in range(2)
        for repeat in range(2)
    ]
    (row,) = aggregate(units)
    expected = wilson(0.7, 10, z_of(0.95))
    assert (row.tasks, row.units, row.rate, row.n_eff) == (10, 40, 0.7, 10)
    assert (row.low, row.high) == pytest.approx(expected)
    assert (row.worst, row.best, row.worst_low, row.best_high) == pytest.approx((0.7, 0.7, *expected))
    assert (row.pass_k, row.pass_hat) == (2, 0.7)  # of two repeats in one cell, not of four units
    assert row.mean_score == pytest.approx(0.45)
    assert row.score_low is not None
    assert row.score_low < 0.45
    *_, note = render_results(tabulate(units)).text().splitlines()
    assert note == "95% intervals over tasks: each of the 10 counts once, in however many cells and repeats"


def test_undecided_units_bound_the_rate() -> None:
    """The rate is over decided units; beside it stands what it would be if none, or all, of the others succeeded."""
    units = [unit(f"t{n}", success=True, first_success=True) for n in range(6)]
    units += [unit(f"u{n}", Status.INFRA) for n in range(4)]
    (row,) = aggregate(units)
    assert (row.rate, row.worst, row.best) == (1.0, 0.6, 1.0)
    assert "60..100%" in render_results(tabulate(units)).text()


def test_markdown() -> None:
    """A table for a pull request has the columns of the terminal's."""
    lines = markdown(tabulate(FOUR, by("m"))).splitlines()
    assert lines[0].startswith("| m | units | ok | not_run | success | 95% CI |")
    assert lines[1] == "| " + " | ".join(["---"] * (lines[0].count("|") - 1)) + " |"
    assert lines[2].startswith("| x | 2 | 2 | 0 | 50.0% | 9..91% |")


def test_units_of_another_worker_or_setting_are_no_repeats() -> None:
    """Runs of an experiment may differ in worker or settings: a row that pools them says so, and has no pass^k."""
    setups = [Setup(worker="m:a", settings={"t": 0}), Setup(worker="m:b", settings={"t": 1})]
    yes = {"success": True, "first_success": True}
    units = [unit(f"t{n}", setup=setup, run=setup.worker, **yes) for n in range(3) for setup in setups]
    (row,) = aggregate(units)
    assert (row.pass_k, row.mixed) == (None, ("worker", "t"))
    *_, note, _ = render_results(tabulate(units)).text().splitlines()
    assert note == "units of several runs differ in worker, t: tell them apart with --by worker,t"
    rows = aggregate(units, by("worker"))
    assert [(row.group, row.units) for row in rows] == [({"worker": "m:a"}, 3), ({"worker": "m:b"}, 3)]
    assert [row.mixed for row in rows] == [(), ()]


def test_rows_are_sorted_and_cut_and_what_is_cut_is_counted() -> None:
    """The largest first, with - the smallest; what has no value is last; the last line stays that of all."""
    units = [unit(f"t{n}", success=n != 2, first_success=n != 2, working_s=float(n)) for n in range(4)]
    units.append(unit("t9", Status.NOT_RUN))
    tasks = {
        sort: [row.group["task"] for row in tabulate(units, by("task", sort=sort)).rows] for sort in ("p95", "-p95")
    }
    assert tasks == {"p95": ["t3", "t2", "t1", "t0", "t9"], "-p95": ["t0", "t1", "t2", "t3", "t9"]}
    found = tabulate(units, by("task", sort="task", top=2))
    assert ([row.group["task"] for row in found.rows], found.left_out, found.total.units) == (["t9", "t3"], 3, 5)
    assert "3 further rows not shown; the last line is of all" in render_results(found).text()
    with pytest.raises(OptionsError, match="there is no column 'nope'"):
        tabulate(units, by("task", sort="nope"))


def test_latest_outcomes_never_lead_silently() -> None:
    """With `outcome` latest, success is of latest outcomes, the first stand beside it, and a sentence says so."""
    found = tabulate(FOUR, by(outcome="latest"))
    assert (found.total.rate, found.total.rate_first, found.total.rate_latest) == (2 / 3, 1 / 3, 2 / 3)
    titles = render_results(found).text().splitlines()[1]
    assert "success, latest" in titles
    assert " first " in titles


def test_what_ran_again_or_was_tried_again_is_told_apart_from_the_rest() -> None:
    """Units with another latest outcome, and those that infrastructure has cost a try, by hand."""

    def ended(attempt: int, success: bool | None = None, status: Status = Status.OK) -> Outcome:
        return Outcome(attempt_line(status=status, attempt=attempt, success=success), Path("journal"), attempt, 1)

    first_try, second_try, failed = ended(1, True), ended(2, True), ended(1, status=Status.FAILED)
    crashed = ended(3, status=Status.CRASHED)
    units = [
        *(unit(f"a{n}", success=True, first_success=True, first=first_try, outcome=first_try) for n in range(3)),
        unit("b", success=True, first_success=True, first=second_try, outcome=second_try, lost_a_try=True),
        unit("c", Status.OK, first_status=Status.FAILED, success=True, first=failed, outcome=second_try),
        unit("d", Status.CRASHED, first=crashed, outcome=crashed, lost_a_try=True),
    ]
    (row,) = aggregate(units)
    assert (row.rerun, row.rate) == (Rerun(units=1, successes=1), 4 / 6)
    assert row.retried is not None
    assert (row.retried.units, row.retried.rate, row.retried.others) == (1, 1.0, 3 / 5)
    assert (row.retried.if_failed, row.retried.if_succeeded) == (3 / 6, 4 / 6)
    assert row.retried.difference == unpaired(1, 1, 3, 5)
    text = render_results(tabulate(units)).text()
    assert "1 unit that had failed ran again, 1 became successes: success is of first outcomes" in text
    assert "1 unit ended only after infrastructure had failed under it: 100.0% succeeded, of the others 60.0%" in text


def test_tasks_of_one_template_are_one_cluster() -> None:
    """With `cluster` the sample is its values: the interval is theirs, and fewer than five of them are refused."""
    units = [unit(f"t{n}", type=f"type{n // 4}", success=n // 4 < 3, first_success=n // 4 < 3) for n in range(24)]
    (row,) = aggregate(units, by(cluster="type"))
    (single,) = aggregate([unit(f"t{n}", success=n < 3, first_success=n < 3) for n in range(6)])
    assert (row.clusters, row.low, row.high) == (6, single.low, single.high)
    assert (
        "95% intervals over the 6 values of type; under 20 an interval is rough"
        in render_results(tabulate(units, by(cluster="type"))).text()
    )
    with pytest.raises(OptionsError, match="type has 4 values"):
        aggregate(units[:16], by(cluster="type"))


def test_repeats_of_which_some_are_undecided_are_left_out_and_counted() -> None:
    """pass@k and pass^k are over the tasks that have k decided repeats; k is the number that was planned."""
    units = [
        unit(f"t{task}", Status.NOT_RUN if (task, repeat) == (3, 1) else Status.OK, repeat=repeat,
             first_success=None if (task, repeat) == (3, 1) else repeat <= task)
        for task in range(4) for repeat in range(2)
    ]  # fmt: skip
    (row,) = aggregate(units)
    assert (row.pass_k, row.pass_tasks, row.pass_of, row.pass_at, row.pass_hat) == (2, 3, 4, 1.0, 2 / 3)
    assert "pass^2: over 3 of 4 tasks of a cell" in render_results(tabulate(units)).text()
    (row,) = aggregate(units, by(pass_k=1))
    assert (row.pass_k, row.pass_tasks, row.pass_at) == (1, 4, row.pass_hat)


def test_paths_lead_into_settings_kept_fields_and_lists() -> None:
    """`a.b` is b in the object a, `a.1` the second of a list; a mean takes numbers of tasks and settings too."""
    units = [
        unit(
            f"t{n}",
            settings={"model": {"size": n % 2}},
            kept={"facts": {"steps": [1, n]}},
            success=True,
            first_success=True,
        )
        for n in range(4)
    ]
    rows = aggregate(units, by("model.size", mean=("facts.steps.1", "model.size")))
    means = [{name: mean.value for name, mean in row.means.items() if mean} for row in rows]
    assert means == [{"facts.steps.1": 1.0, "model.size": 0.0}, {"facts.steps.1": 2.0, "model.size": 1.0}]
    assert len(aggregate(units, by("facts.steps.1"))) == 4
    with pytest.raises(OptionsError, match=r"facts\.nope"):
        aggregate(units, by("facts.nope"))
