"""What a run has cost, and a run that may cost so much: by prices that the user names, never by others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc
from prealloc.errors import Mistake
from prealloc.model.prices import Cost, Price, cost_of, most_of, read_prices
from prealloc.model.usage import Tokens

PRICES = {"a": Price(input=2.0, output=8.0, cache_read=0.5), "free": Price(input=0.0, output=0.0)}


def test_what_tokens_cost() -> None:
    """Dollars per million, each kind at its price; what has no price is counted, and is not 0 dollars."""
    used = Tokens(input=1_000_000, output=500_000, cache_read=2_000_000, reasoning=400_000)
    assert cost_of({"a": used}, PRICES) == Cost(7.0, 0)
    assert cost_of({"a": used, "b": Tokens(input=5, unsplit=6)}, PRICES) == Cost(7.0, 11)
    assert cost_of({"b": Tokens(input=5)}, PRICES) == Cost(None, 5)
    assert cost_of({"a": Tokens(output=1_000_000, cache_write=3, unsplit=4)}, PRICES) == Cost(8.0, 7)
    assert cost_of({"free": Tokens(input=9, unsplit=9)}, PRICES) == Cost(0.0, 0)
    assert cost_of(None, PRICES) == Cost(None, 0)


def test_for_a_limit_what_is_not_known_is_dear() -> None:
    """A limit that must hold takes the dearest price of the model; of a model without any nothing is known."""
    unknown = Tokens(cache_write=500_000, unsplit=500_000)
    assert most_of({"a": unknown}, PRICES) == Cost(8.0, 0)
    assert most_of({"a": unknown, "b": Tokens(output=3)}, PRICES) == Cost(8.0, 3)
    assert most_of(None, PRICES) == Cost(0.0, 0)


def test_wrong_prices_are_told_together() -> None:
    """Each with its place."""
    found: list[Mistake] = []
    given = {"a": {"input": -1, "outputs": 2}, "b": 3, "c": {"input": 1, "output": "$2.50"}}
    assert read_prices(given, found, "[prices]") == {"c": Price(input=1.0, output=2.5)}
    assert [mistake.where for mistake in found] == [
        "[prices] a input",
        "[prices] a outputs",
        "[prices] a output",
        "[prices] b",
    ]


def spend(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    """A request of 1,000 + 100 tokens in each attempt, of which the first fails for some."""
    ctx.usage({"input": 1000, "output": 100})
    if task.workflow == "again" and ctx.attempt == 1:
        raise prealloc.Retryable("busy")
    if task.workflow == "fails":
        raise ValueError
    return {"success": True}


CONFIG = """
[sampling]
all = true
[factors]
model = ["a", "b"]
[run]
engine = "inline"
worker = "test_cost:spend"
[prices.a]
input = 10
output = 100
"""
EACH = 1000 * 10 / 1e6 + 100 * 100 / 1e6  # 0.02
OF_B = "[prices.b]\ninput = 1\noutput = 10\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    workflows = ["fails", "again", *["ok"] * 8]
    tasks = [{"id": f"t{n}", "type": "x", "workflow": workflow} for n, workflow in enumerate(workflows)]
    (tmp_path / "lib.json").write_text(json.dumps(tasks))
    (tmp_path / "e.toml").write_text(CONFIG)
    (tmp_path / "b.toml").write_text(CONFIG + OF_B)
    return tmp_path


def test_results_and_export_say_what_it_cost(type_: Type, folder: Path) -> None:
    """Every attempt counts; models without a price are tokens without a price; a run without prices has no cost."""
    assert type_("plan", "lib.json", "--config", "e.toml", "--out", "plan").code == 0
    assert type_("run", "plan", "--config", "e.toml", "--out", "run").code == 1
    a, b = json.loads(type_("results", "run", "--by", "model", "--json").out)
    assert a["usage"] == {"a": {"input": 11_000, "output": 1100, "requests": 11}}
    assert (a["cost"], a["unpriced_tokens"]) == (pytest.approx(11 * EACH), 0)
    assert (b["cost"], b["unpriced_tokens"], b["usage"]["b"]["input"]) == (None, 12_100, 11_000)
    assert (a["retried"]["units"], a["retried"]["rate"], a["attempts"]) == (1, 1.0, 11)
    shown = type_("results", "run", "--by", "model").out
    assert "$0.22" in shown
    assert "12,100 tokens without a price are in no cost" in shown
    (both,) = json.loads(type_("results", "run", "--json", "--prices", "b.toml").out)
    assert both["cost"] == pytest.approx(11 * EACH * 1.1)
    assert type_("export", "run", "--out", "u.csv", "--prices", "b.toml").code == 0
    assert type_("export", "run", "--out", "a.csv", "--prices", "b.toml", "--attempts").code == 0
    for name in ("u.csv", "a.csv"):
        with Path(name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert sum(float(row["cost"]) for row in rows) == pytest.approx(both["cost"])
        assert sum(int(row["input_tokens"]) for row in rows) == 22_000
    assert type_("results", "run", "--prices", "lib.json").code == 2
    Path("no.toml").write_text("[sampling]\nseed = 1\n")
    assert "it has no prices" in type_("results", "run", "--prices", "no.toml").err
    stored = json.loads(Path("run/run.json").read_text())
    assert stored["prices"] == {"a": {"input": 10.0, "output": 100.0}}


def test_a_run_that_may_cost_so_much(type_: Type, folder: Path) -> None:
    """It stops when that is reached, says so and by how much; a resume takes a new value, and counts what was spent."""
    assert type_("plan", "lib.json", "--config", "b.toml", "--out", "plan").code == 0
    told = type_("run", "plan", "--config", "e.toml", "--out", "run", "--max-cost", "0.1")
    assert (told.code, Path("run").exists()) == (2, False)
    assert "there is no price for b" in told.err
    assert (
        "no price is known" in type_("run", "plan", "--worker", "test_cost:spend", "--out", "r", "--max-cost", "1").err
    )
    done = type_("run", "plan", "--config", "b.toml", "--out", "run", "--max-cost", "$0.10")
    assert done.code == 1
    assert "max-cost $0.10 is reached: $0.10 so far; what runs may add to it" in done.out
    assert sum(row["attempts"] for row in json.loads(type_("results", "run", "--json").out)) == 5
    again = type_("resume", "run")
    assert again.code == 2
    assert "--max-cost: max-cost $0.10 is reached" in again.err
    done = type_("resume", "run", "--max-cost", "0.15")
    assert "max-cost $0.15 is reached: $0.16 so far" in done.out
    done = type_("resume", "run", "--max-cost", "none")
    assert (done.code, "is reached" in done.out) == (1, False)
    (row,) = json.loads(type_("results", "run", "--json").out)
    assert row["cost"] == pytest.approx(11 * EACH * 1.1)


def test_a_limit_that_cannot_be_kept_is_told(type_: Type, folder: Path) -> None:
    """Tokens of a model that nobody foresaw stop the run: what they cost is not known."""
    Path("other.py").write_text("def solve(task, ctx):\n    ctx.usage(5, model='judge')\n    return True\n")
    assert type_("plan", "lib.json", "--config", "b.toml", "--out", "plan").code == 0
    words = ("run", "plan", "--config", "b.toml", "--worker", "other:solve", "--out", "run", "--max-cost", "9")
    done = type_(*words)
    assert done.code == 1
    assert "5 tokens of judge have no price, so max-cost $9 cannot be kept" in done.out
