"""What tasks have used is known however their attempts ended."""

from __future__ import annotations

import pytest
from harness import Stage

from prealloc.model.usage import Tokens
from prealloc.store.fold import fold
from prealloc.store.run_folder import OpenRun

pytestmark = pytest.mark.fault


def test_every_attempt_counts(stage: Stage) -> None:
    """Failed ones, retried ones, those that were killed with their worker or ended at the timeout: each once.

    And each retry says why it was made.
    """
    does = {"ok": 1, "fail": 1, "retry": 2, "hang": 2, "kill": 2, "die": 3}
    stage.make_plan({do: {"do": do} for do in does}, settings={"model": "o3"})
    session = stage.start("--timeout", "1s", worker="spending:spend")
    assert session.wait() == 1
    run = OpenRun(stage.run)
    states = {unit.task: state for unit, state in fold(run.paths, run.units()).units.items()}
    used = {task: (state.usage or {}).get("o3") for task, state in states.items()}
    for task, requests in does.items():
        assert used[task] == Tokens(input=10 * requests, output=5 * requests, requests=requests), task
    retries = {task: (each.infra_retries, each.lane_retries, each.lost_workers) for task, each in states.items()}
    again = {"retry": (1, 0, 0), "kill": (0, 0, 1), "die": (0, 0, 2)}
    assert retries == dict.fromkeys(does, (0, 0, 0)) | again
    told = [*session.of("attempt_ended"), *session.of("worker_lost")]
    assert sum(each["usage"]["o3"]["requests"] for each in told if each["usage"]) == sum(does.values()) - 1  # one late
    stage.check(session)
