"""`prealloc compare`: the truth that was planted is found, and no other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import Type
from msgspec.structs import replace
from rich.cells import cell_len

import prealloc
from prealloc.model.outcome import Status
from prealloc.model.questions import CompareOptions
from prealloc.report.compare_view import heading, notes, render_comparison, row_name, verdict
from prealloc.report.page import wrapped
from prealloc.store.comparison import Comparison, Member, closes_gate, compare_members
from prealloc.store.unit_outcome import UnitOutcome

Solves = Callable[[str, int, int], bool | None]
"""(model, task, repeat) -> whether it succeeds; None: the unit is undecided."""


def members(
    solves: Solves, *, tasks: int = 60, repeats: int = 1, models: Sequence[str] = "ab", **cell: Any
) -> Iterator[Member]:
    """The units of cells of these models."""
    for model in models:
        for task in range(tasks):
            for repeat in range(repeats):
                said = solves(model, task, repeat)
                status = Status.NOT_RUN if said is None else Status.OK
                unit = UnitOutcome(
                    shard=model, task=f"t{task}", type=f"type{task % 2}", repeat=repeat, status=status,
                    first_status=status, success=said, first_success=said,
                )  # fmt: skip
                yield Member(unit, {"model": model, **cell}, b"")


def compared(*found: Iterator[Member], **options: Any) -> Comparison:
    return compare_members([each for some in found for each in some], CompareOptions(factor="model", **options))


def test_planted_truths() -> None:
    """One that is better, one that is equal, one with too few differences to tell: each is found, in words."""

    def solves(model: str, task: int, repeat: int) -> bool:
        if model == "better":
            return task % 4 != 0
        if model == "nearly":
            return task % 2 == 0 or task in (1, 3)
        if model == "other":  # as good on average, on other tasks
            return (task // 2) % 2 == 0
        return task % 2 == 0

    options = CompareOptions(factor="model", baseline="base")
    names = ("better", "nearly", "other")
    found = [compare_members([*_named(solves, name), *_named(solves, "base")], options) for name in names]
    assert [each.rows[0].verdict for each in found] == ["better", "too few tasks differ", "no difference shown"]
    assert found[2].rows[0].shown_from is not None


def _named(solves: Solves, name: str) -> list[Member]:
    return [Member(m.unit, {"model": name}, b"") for m in members(lambda _, t, r: solves(name, t, r), models="x")]


def test_a_narrow_page_loses_columns_and_no_word() -> None:
    """At 80 characters the verdict is whole, and so are the notes: they go on in the next line."""

    def solves(model: str, task: int, repeat: int) -> bool | None:
        return None if model == "the-larger-model" and task < 6 else task % 2 == 0

    found = compared(members(solves, models=["the-larger-model", "the-smaller-model"], prompt="plain"))
    lines = [line.plain for line in render_comparison(found, tasks=True).lines(80)]
    assert max(map(len, lines)) <= 80
    shown = " ".join(lines)
    assert all(text in shown for text in (heading(found), *notes(found), "too few tasks differ"))


def test_figures_have_the_unit_of_what_is_compared() -> None:
    """Scores differ by a score, rates by points; a task that took longer is called that, not better."""

    scored = [
        member._replace(unit=replace(member.unit, first_score=8.0 if member.cell["model"] == "a" else 6.5))
        for member in members(lambda *_: True, tasks=6)
    ]
    found = compare_members(scored, CompareOptions(factor="model", metric="score", baseline="b"))
    assert "8.000    6.500      +1.500" in render_comparison(found).text()
    better = "a against b: {} on t0, t1, t2, t3, t4, t5; {} on none"
    assert better.format("better", "worse") in render_comparison(found, tasks=True).text()
    assert (
        better.format("longer", "shorter") in render_comparison(replace(found, metric="working_s"), tasks=True).text()
    )
    rates = compared(members(lambda model, task, _: task % 4 > 0 if model == "a" else task % 2 > 0))
    (row,) = rates.rows
    assert "points" in render_comparison(rates).text().splitlines()[2]
    for width in (40, 80):
        shown = " ".join(render_comparison(rates).text(width).split())
        assert f"{row_name(row)}: {verdict(row)}" in shown


def test_a_sentence_fits_by_the_columns_that_its_characters_take() -> None:
    """Wide characters take two; a word that is too long has a line of its own, and nothing is lost."""
    for text in ("部屋 を 掃除する 前に " * 9, "x" * 90, "a-hyphenated-word " * 9):
        lines = wrapped(text, 40)
        assert all(cell_len(line) <= 40 or line == "x" * 90 for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_pair_is_of_the_same_task_in_the_same_cell() -> None:
    """Other factors are equal on both sides; a task that one side lacks, or has not decided, is counted and named."""
    one = members(lambda model, task, _: None if (model, task) == ("b", 3) else model == "a", tasks=10, prompt="p")
    alone = members(lambda *_: True, tasks=10, models="a", prompt="only a has it")
    (row,) = compared(one, alone, baseline="b").rows
    assert row.difference is not None
    assert (row.difference.tasks, row.difference.better, row.cells, row.of_cells) == (9, 9, 1, 2)
    assert (row.missing, row.undecided) == (11, 1)
    assert "t3" in row.missing_tasks
    assert row.bounds == (pytest.approx(0.9), 1.0)


def test_the_same_id_is_another_task_if_its_content_differs() -> None:
    """Tasks of two runs are joined by id and content; difficulties of one task by its id."""
    first = [Member(m.unit, {"run": "one"}, b"1") for m in members(lambda *_: True, tasks=5, models="a")]
    second = [Member(m.unit, {"run": "two"}, b"2") for m in members(lambda *_: True, tasks=5, models="a")]
    (row,) = compare_members([*first, *second], CompareOptions(factor="run")).rows
    assert (row.difference, row.verdict, row.missing) == (None, None, 10)
    levels = [m._replace(cell={"difficulty": m.cell["run"]}) for m in (*first, *second)]
    (row,) = compare_members(levels, CompareOptions(factor="difficulty")).rows
    assert row.difference is not None


def test_repeats_and_cells_of_a_task_are_one_observation() -> None:
    """Five times as many units of the same tasks make no difference more certain."""
    once = compared(members(lambda model, task, _: task % 4 != 0 if model == "a" else task % 2 == 0))
    often = compared(members(lambda model, task, _: task % 4 != 0 if model == "a" else task % 2 == 0, repeats=5))
    for found in (once, often):
        assert found.rows[0].difference is not None
        assert found.rows[0].difference.tasks == 60
    assert once.rows[0].p == pytest.approx(often.rows[0].p)


def test_p_values_count_together() -> None:
    """With three models there are three comparisons: Holm's p is larger than each alone; bh's lies between."""

    def solves(model: str, task: int, _: int) -> bool:
        return task % {"a": 2, "b": 3, "c": 4}[model] != 0

    by = {
        how: [row.p for row in compared(members(solves, models="abc"), adjust=how).rows]
        for how in ("none", "bh", "holm")
    }
    assert len(by["none"]) == 3
    for alone, screened, strict in zip(by["none"], by["bh"], by["holm"], strict=True):
        assert alone <= screened <= strict


def test_groups() -> None:
    """`by` makes a comparison for each value, of the type too: a model may be better on one type only."""
    found = compared(members(lambda model, task, _: model == "a" and task % 2 == 0), baseline="b", by=("type",))
    assert [(row.group, row.verdict) for row in found.rows] == [
        ({"type": "type0"}, "better"),
        ({"type": "type1"}, "too few tasks differ"),
    ]


def test_a_gate_opens_only_for_what_is_shown() -> None:
    """What is worse, a loss that is not excluded and undecided units keep it closed, each by name."""

    def gate(solves: Solves, tasks: int = 60) -> str:
        found = compared(members(solves, tasks=tasks), baseline="b", margin=0.05)
        return " ".join(closes_gate(found))

    assert gate(lambda *_: True, tasks=200) == ""
    assert "is worse" in gate(lambda model, task, _: model == "b" or task % 2 == 0)
    assert "a loss is not excluded" in gate(lambda model, task, _: task % 2 == 0, tasks=12)
    assert "undecided units could" in gate(
        lambda model, task, _: None if (model == "a" and task < 20) else True, tasks=400
    )
    assert gate(lambda model, task, _: None) != ""


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, ["‹factor›"]),
        ({"factor": "modle"}, ["‹factor›"]),
        ({"factor": "model", "baseline": "z", "by": ("nothing",)}, ["‹baseline›", "‹by›"]),
        ({"factor": "model", "by": ("model",)}, ["‹by›"]),
        ({"factor": "prompt"}, ["‹factor›"]),
    ],
)
def test_questions_that_cannot_be_answered(options: dict[str, Any], where: list[str]) -> None:
    """All mistakes at once, each with what there is."""
    with pytest.raises(prealloc.OptionsError) as caught:
        compare_members(members(lambda *_: True, tasks=2, prompt="p"), CompareOptions(**options))
    assert [mistake.where for mistake in caught.value.mistakes] == where


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment in which `large` solves all tasks and `small` every other."""
    folder = tmp_path_factory.mktemp("compare")
    tasks = [{"id": f"t{n:02d}", "type": "x", "workflow": {"n": n}} for n in range(24)]
    plan = prealloc.plan(tasks, whole=True, factors={"model": ["small", "large"]})
    prealloc.run(plan, solve, folder / "run", engine="inline")
    return folder / "run"


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    return {
        "success": ctx.settings["model"] == "large" or task.workflow["n"] % 2 == 0,
        "score": task.workflow["n"] / 24,
    }


def test_the_command(run: Path, type_: Type) -> None:
    """Table, Markdown, CSV and JSON say the same; --tasks lists what differs; --gate is the exit code."""
    words = ("compare", str(run), "--factor", "model", "--baseline", "small")
    table = type_(*words, "--tasks")
    assert table.code == 0
    assert "large against small" in table.out
    assert "better on t01, t03" in table.out
    (row,) = json.loads(type_(*words, "--json").out)["rows"]
    assert (row["verdict"], row["difference"]["value"], row["difference"]["tasks"]) == ("better", 0.5, 24)
    (line,) = csv.DictReader(io.StringIO(type_(*words, "--format", "csv").out))
    assert (line["verdict"], line["difference_value"], line["against"]) == ("better", "0.5", "small")
    assert "| large against small | 24 | 100.0% | 50.0% | +50.0 |" in type_(*words, "--format", "md").out
    assert type_(*words, "--margin", "5%", "--gate").code == 0
    closed = type_("compare", str(run), "--factor", "model", "--baseline", "large", "--margin", "5%", "--gate")
    assert (closed.code, "is worse" in closed.err) == (1, True)
    for wrong in (["--factor", "x"], ["--factor", "model", "--format", "xml"], ["--factor", "model", "--gate"], []):
        assert type_("compare", str(run), *wrong).code == 2


def test_other_metrics(run: Path) -> None:
    """A score is a mean of tasks; times are compared by the ratio of their geometric means."""
    (score,) = prealloc.compare(run, factor="model", metric="score").rows
    assert score.difference is not None
    assert (score.difference.value, score.verdict) == (0, "no difference shown")
    (time,) = prealloc.compare(run, factor="model", metric="working_s").rows
    assert time.ratio is not None
    assert time.ratio[0] < time.ratio[1] < time.ratio[2]
    assert time.verdict in ("faster", "slower", "no difference shown")


def test_a_rate_that_is_too_low_fails(run: Path, type_: Type) -> None:
    """`results --fail-under` is exit code 1 with the reason; a share that is none is a mistake."""
    assert type_("results", str(run), "--fail-under", "75%").code == 0
    low = type_("results", str(run), "--fail-under", "76%")
    assert (low.code, "success is 75.0%, and 76% are required" in low.err) == (1, True)
    assert type_("results", str(run), "--fail-under", "much").code == 2
    assert type_("results", str(run), "--by", "model", "--format", "md").out.startswith("| model |")
