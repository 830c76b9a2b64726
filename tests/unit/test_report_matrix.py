"""The cells of an experiment, its lanes and its estimate as a page."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from prealloc.model.lane import Lane
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.estimate import Effort, estimate
from prealloc.planning.matrix import Matrix, Outlook, loads_of_spec, matrix_of_spec
from prealloc.report.matrix_view import render_outlook

SCREENS = Path(__file__).parents[1] / "golden" / "screens"


def spec() -> PlanSpec:
    """Two models on deployments, one on a key, and everything else that the page can show."""
    return PlanSpec.checked(
        factors={
            "prompt_type": ["baseline", "cot", "optimal"],
            "model": ["DeepSeek-V3-0324", "Llama-3.3-70B-Instruct", "qwen2.5-7b-instruct"],
            "difficulty": ["easy", "hard"],
        },
        exclude=[{"model": "qwen2.5-7b-instruct", "prompt_type": "cot"}],
        lanes=[
            Lane(name="deployment-1", models=("DeepSeek-V3-0324", "Llama-3.3-70B-Instruct"), queries_per_second=200),
            Lane(name="deployment-2", models=("DeepSeek-V3-0324",), shards_at_once=2, concurrency=50),
            Lane(name="key-1", models=("qwen2.5-7b-instruct",), requests_per_minute=60),
        ],
        num_instances_per_cell=25,
    )


def matrix() -> Matrix:
    return msgspec.structs.replace(matrix_of_spec(spec()), paired=True, dropped={"easy": 3})


def page(effort: Effort, width: int | None) -> str:
    loads = loads_of_spec(spec())
    assert loads is not None
    forecast = estimate(loads, spec().lanes, effort)
    return render_outlook(Outlook(matrix=matrix(), estimate=forecast)).text(width)


@pytest.mark.parametrize("width", [80, 120])
def test_matrix_screens(width: int) -> None:
    """The page looks exactly so, and no line of it is wider than the terminal."""
    text = page(Effort(requests_per_task=6, seconds_per_task=2), width)
    assert max(map(cell_len, text.splitlines())) <= width
    path = SCREENS / f"matrix-{width}.txt"
    if os.environ.get("PREALLOC_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", range(20, 80, 7))
def test_a_narrow_terminal_loses_columns_and_not_the_answer(width: int) -> None:
    """No line is wider than the terminal down to 20 columns, and the estimate is there."""
    text = page(Effort(seconds_per_task=2), width)
    assert max(map(cell_len, text.splitlines())) <= max(width, 36)
    assert "\nestimate    " in text


def test_an_estimate_that_is_not_whole_says_so() -> None:
    """A lower bound is never shown as the time it takes."""
    assert "estimate    at least 1 min 40 s; the time of a task is not known" in page(Effort(), None)


def test_several_bottlenecks_are_counted() -> None:
    """Lanes that end together are one and the others."""
    lanes = [Lane(name=f"l{n}", requests_per_minute=6) for n in range(3)]
    told = PlanSpec.checked(num_instances_per_cell=6, lanes=lanes)
    loads = loads_of_spec(told)
    assert loads is not None
    forecast = estimate(loads, lanes, Effort(seconds_per_task=1))
    text = render_outlook(Outlook(matrix=matrix_of_spec(told), estimate=forecast)).text()
    assert "bottleneck  l0 and 2 more that take as long, by requests per minute\n" in text
    assert text.startswith("shards      3, 6 units\n")


def test_foreign_text_is_escaped() -> None:
    """Factors and their values come from a file."""
    told = PlanSpec.checked(factors={"mo\x1bdel": ["a\x1b[2J", "b"]})
    text = render_outlook(Outlook(matrix=matrix_of_spec(told))).text(80)
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
