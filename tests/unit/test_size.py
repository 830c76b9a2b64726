"""`prealloc size` and size(): how many tasks show what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc


def test_sizes_by_repeats() -> None:
    """A row for each number of repeats; with repeats that are not alike fewer tasks are enough, and more units."""
    found = prealloc.size(half_width="5%", icc=0.6)
    assert [(size.repeats, size.tasks, size.units) for size in found.sizes] == [
        (1, 385, 385),
        (2, 308, 616),
        (3, 282, 846),
        (5, 262, 1310),
    ]
    assert found.cheapest.repeats == 1
    (only,) = prealloc.size(difference=0.1, differ="25%", repeats=3).sizes
    assert (only.tasks, only.units) == (189, 567)  # alike: the repeats add nothing


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, ["‹half_width›, ‹difference›"]),
        ({"half_width": "5%", "difference": "5%"}, ["‹half_width›, ‹difference›"]),
        ({"half_width": "0%", "power": "x", "repeats": 0}, ["‹half_width›", "‹power›", "‹repeats›"]),
        ({"difference": "60%"}, ["‹difference›"]),
        ({"half_width": True}, ["‹half_width›"]),
    ],
)
def test_wrong_questions(options: dict[str, Any], where: list[str]) -> None:
    """All mistakes at once; a difference that cannot be is one."""
    with pytest.raises(prealloc.OptionsError) as caught:
        prealloc.size(**options)
    assert [mistake.where for mistake in caught.value.mistakes] == where


def test_the_command(type_: Type) -> None:
    """It says what the function says, as a table or as JSON; a mistake is exit code 2, in the command line's words."""
    done = type_("size", "--diff", "5%", "--differ", "15%", "--json")
    assert json.loads(done.out)["cheapest"] == {"repeats": 1, "tasks": 464, "units": 464}
    assert "464" in type_("size", "--diff", "5%", "--differ", "15%").out
    wrong = type_("size", "--diff", "2")
    assert (wrong.code, "--diff" in wrong.err) == (2, True)


def test_no_plan_loads_scipy(tmp_path: Path) -> None:
    """Statistics are for results: a plan says its precision without scipy and numpy, and so does a run."""
    program = """if True:
        import sys
        from prealloc.cli import main
        for words in (
            "library sample tasks.json --tasks 20 --workflow-bytes 300",
            "plan tasks.json -n 5 --out plan",
            "run plan --worker prealloc.agents.simulate:run --engine inline --out run",
            "status run",
        ):
            sys.argv = ["prealloc", *words.split()]
            assert main() == 0, words
        sys.exit(" ".join({"scipy", "numpy", "jinja2"} & sys.modules.keys()) or 0)
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
