"""What a reader of results, comparison and report finds of truths that are known: each of them, and no other."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness import HERE, Stage
from zygote import run_command

import prealloc
from prealloc.model.lane import Lane

pytestmark = [pytest.mark.fault, pytest.mark.in_laws]  # the report alone is held to them in test_html_report

MODELS = ("base", "better", "equal")
TYPES = ("math", "web", "files")


def told(*words: str) -> str:
    """What a command prints for people."""
    done = run_command(words, HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_planted_truth_is_found_and_no_other(stage: Stage) -> None:
    """One model is better on one type alone, one is equal, one lane fails 40% of its units, failures ran again.

    3 models x 2 prompts x 60 tasks x 2 repeats. The rate stays that of first outcomes, with the latest beside it.
    """
    tasks = [{"id": f"{type}-{n:02}", "task_type": type, "workflow": {}} for type in TYPES for n in range(20)]
    stage.library.write_text(json.dumps({"tasks": tasks}))
    lanes = [Lane.checked(name=f"key-{n}", deployment=name) for n, name in enumerate(("well", "too", "ill"), 1)]
    factors = {"model": MODELS, "prompt": ("plain", "careful")}
    options: dict[str, Any] = {"factors": factors, "lanes": lanes, "num_instances_per_cell": 60, "repeats": 2}
    prealloc.plan(stage.library, out=stage.plan, stratify=True, seed=7, **options)
    assert stage.start("--retries", "0", worker="planted:solve").wait() == 1
    check_the_lane(str(stage.run), stage.root / "report.html")
    assert stage.resume("--failed").wait() == 1
    check_the_models(str(stage.run))
    check_first_and_latest(str(stage.run))


def check_the_lane(run: str, out: Path) -> None:
    """It has all failures of infrastructure, and the report says that it is the lane, and no model or type."""
    rows = {row.group["lane"]: row for row in prealloc.results(run, by=["lane"])}
    assert [name for name, row in rows.items() if row.infra] == ["key-3"]
    infra = rows["key-3"].infra
    assert 0.25 < infra / rows["key-3"].units < 0.55
    assert "different lanes have different tasks and settings: their rates" in told("results", run, "--by", "lane")
    told("report", run, "--out", str(out))
    found = re.findall(r'<td class="wide"><code>(.*?)</code></td><td class="common">(.*?)</td>', out.read_text())
    in_common = {html.unescape(error).partition(":")[0]: common for error, common in found}
    said = in_common["prealloc.errors.Retryable"]
    assert re.fullmatch(rf"<div>lane key-3: {infra} of {infra} \(\d+% of all units\)</div>", said)
    assert in_common["AssertionError"] == '<span class="faint">nothing</span>'


def check_the_models(run: str) -> None:
    """One is better, and on one type alone; the other, and the prompt, show no difference."""
    rows = prealloc.compare(run, factor="model", baseline="base").rows
    assert {row.value: row.verdict for row in rows} == {"better": "better", "equal": "no difference shown"}
    by_type = prealloc.compare(run, factor="model", by=["type"])
    shown = {
        (row.group["type"], row.value, row.against): row.verdict
        for row in by_type.rows
        if row.verdict not in ("no difference shown", "too few tasks differ")
    }
    assert shown == {("math", "better", "base"): "better", ("math", "equal", "better"): "worse"}
    assert [row.verdict for row in prealloc.compare(run, factor="prompt").rows] == ["no difference shown"]
    screen = told("compare", run, "--factor", "model", "--baseline", "base", "--by", "type").splitlines()
    ends = {line.partition(" against")[0]: line for line in screen if re.search(r" against base  ", line)}
    assert len(ends) == 6
    assert [name for name, line in ends.items() if line.rstrip().endswith(" better")] == ["type math: better"]


def check_first_and_latest(run: str) -> None:
    """What ran again is no first try: no rate has it but the one that says so, and a sentence says why."""
    rows = prealloc.results(run, by=["model"])
    assert [firsts(run, model) for model in MODELS] == [(row.rate, row.rated) for row in rows]
    assert all((row.rate_latest or 0) > (row.rate or 0) for row in rows)
    screen = told("results", run, "--by", "model")
    assert re.search(r"\d+ units that had failed ran again, \d+ became successes: success is of first outcomes", screen)
    assert re.search(r"\d+ units ended only after infrastructure had failed under them: [\d.]+% succeeded, of", screen)
    screen = told("results", run, "--outcome", "latest")
    assert "success, latest" in screen
    assert "success is of latest outcomes, which cannot be compared with first tries" in screen


def firsts(run: str, model: str) -> tuple[float, int]:
    """The rate by first final outcomes, and over how many, counted from the journal's lines."""
    files = sorted((Path(run) / "journal").iterdir())
    lines = [line for file in files for line in map(json.loads, file.read_text().splitlines()) if "attempt" in line]
    first: dict[tuple[str, str, int], bool] = {}
    for line in sorted(lines, key=lambda line: line["attempt"]):
        if line["status"] != "infra" and line["shard"].startswith(f"{model}."):
            key = (line["shard"], line["task"], line["repeat"])
            first.setdefault(key, (line.get("result") or {}).get("success", False))
    return sum(first.values()) / len(first), len(first)
