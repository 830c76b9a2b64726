"""A run of the first version of the formats: every later version reads it, and goes on with it.

It was made by commit 643fa66 and killed twice: eight of its ten units are decided, one has used its retries up, and
one was running at both kills.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import prealloc
from prealloc.api.outcomes import unit_history
from prealloc.model.outcome import Status

GOLDEN = Path(__file__).parent.parent / "golden"
RUN = GOLDEN / "run_v1"

DECIDED = {
    "ok-yes": (Status.OK, True, 0.75, None),
    "ok-no": (Status.OK, False, None, None),
    "ok-unclear": (Status.OK, None, None, '"maybe"'),
    "ok-text": (Status.OK, None, None, None),
    "retried": (Status.OK, True, 1.0, None),
    "failed": (Status.FAILED, None, None, None),
    "timeout": (Status.TIMEOUT, None, None, None),
    "crashed": (Status.CRASHED, None, None, None),
}
"""Status, and what the result says of the agent: the lines of this version leave that to the reader."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy that can be resumed here: the worker's folder is another than on the machine that it comes from."""
    copy = tmp_path / "run"
    shutil.copytree(RUN, copy)
    file = json.loads((copy / "run.json").read_text())
    file["import_path"] = [str(GOLDEN)]
    (copy / "run.json").write_text(json.dumps(file))
    return copy


def test_its_status_is_what_it_was() -> None:
    """Every unit is counted as the version that wrote it counted."""
    found = prealloc.status(RUN)
    assert {status: units for status, units in found.census.items() if units} == {
        "ok": 5,
        "failed": 1,
        "timeout": 1,
        "crashed": 1,
        "infra": 1,
        "not_run": 1,
    }
    assert (found.sessions, found.units, found.final, found.warnings) == (2, 10, 8, [])
    assert (found.success.decided, found.success.successes, found.success.unknown, found.rate) == (8, 2, 2, 2 / 6)


def test_its_results_are_what_they_were() -> None:
    """What each result says of the agent is found in the result itself."""
    found = {each.task: each for each in prealloc.outcomes(RUN)}
    told = {task: (each.status, each.success, each.score, each.unclear) for task, each in found.items()}
    assert told == DECIDED | {"infra": (Status.INFRA, None, None, None), "open": (Status.NOT_RUN, None, None, None)}
    attempt = found["ok-no"].read()
    assert attempt is not None
    assert (attempt.result, attempt.success, attempt.lane) == ({"success": 0, "text": "naïve \u2028"}, False, None)
    (row,) = prealloc.results(RUN)
    assert (row.units, row.decided, row.scored, row.mean_score, row.attempts) == (10, 8, 2, 0.875, 14)


def test_its_units_have_their_histories() -> None:
    """Every attempt at a unit is shown with its error or result, whichever session made it."""
    retried = unit_history(RUN, "shard-00/retried#0")
    assert [(tried.session, tried.attempt.status, tried.attempt.again) for tried in retried.tries] == [
        (1, Status.INFRA, True),
        (2, Status.OK, False),
    ]
    assert retried.tries[1].attempt.result == {"success": True, "score": 1}
    crashed = unit_history(RUN, "shard-00/crashed#0")
    assert (crashed.deaths, crashed.accepted) == (2, 3)


def test_it_is_resumed_to_its_end(run: Path) -> None:
    """What is decided is not run again, what is open is; and the old lines and the new ones are one journal."""
    before = {path: path.read_bytes() for path in (run / "journal").iterdir()}
    attempts = {each.task: each.attempts for each in prealloc.outcomes(run)}
    ended = prealloc.resume(run)
    assert (ended.census["ok"], ended.census["infra"], ended.census["not_run"]) == (7, 0, 0)
    assert {path: path.read_bytes() for path in before} == before
    found = {each.task: each for each in prealloc.outcomes(run)}
    assert {task for task, each in found.items() if each.attempts != attempts[task]} == {"open", "infra"}
    told = {task: (each.status, each.success, each.score, each.unclear) for task, each in found.items()}
    assert told == DECIDED | {"infra": (Status.OK, False, 0.0, None), "open": (Status.OK, True, 0.5, None)}


def test_its_outcomes_are_taken_over(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--reuse` writes old lines anew, with what their results say of the agent."""
    monkeypatch.chdir(GOLDEN)  # where workers are imported from
    prealloc.run(run / "plan", "golden_worker:solve", tmp_path / "next", reuse=run, retries=0)
    found = {each.task: each for each in prealloc.outcomes(tmp_path / "next")}
    told = {task: (found[task].status, found[task].success, found[task].score, found[task].unclear) for task in DECIDED}
    assert told == DECIDED
    lines = (tmp_path / "next/journal/supervisor.0001.jsonl").read_bytes().split(b"\n")[:-1]
    taken = {line["task"]: line.get("success") for line in map(json.loads, lines) if "reused" in line}
    assert taken == {task: success for task, (_, success, _, _) in DECIDED.items()}
