"""Row 19: workers print what they like. It goes to their shard's log, which has a cap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import Stage

pytestmark = pytest.mark.fault

CAP = 64 * 2**20
"""RunPolicy.max_log_bytes."""


def test_a_flood_of_stdout(stage: Stage) -> None:
    """100 MB from one task: no deadlock, bounded memory, nothing of it on our stdout, a log that keeps to its cap."""
    stage.make_plan({"flood": {"do": "flood", "mb": 100}, "t": {"do": "ok"}}, first="flood")
    session = stage.start()
    most = 0
    while session.process.poll() is None:
        most = max(most, memory_of(stage))
        time.sleep(0.02)
    assert session.wait() == 0
    assert session.census == {"ok": 2}
    log = (stage.run / "logs" / "shard-00.log").stat().st_size
    assert 2**20 < log <= CAP * 1.1, f"the log has {log:,} bytes, its cap is {CAP:,}"
    assert most < 400 * 2**20
    assert "yyyyyyyy" not in session.output()
    stage.check(session)


def test_two_workers_share_a_log(stage: Stage) -> None:
    """What a killed worker printed stays; its replacement writes behind it."""
    stage.make_plan({"a": {"do": "flood", "mb": 2}, "b": {"do": "kill_self"}, "c": {"do": "flood", "mb": 2}})
    session = stage.start()
    assert session.wait() == 1
    text = (stage.run / "logs" / "shard-00.log").read_bytes()
    assert text.count(b"y" * 100 + b"\n") == 2
    assert text.count(b"z" * 100 + b"\n") == 2
    stage.check(session)


def memory_of(stage: Stage) -> int:
    """The resident memory of all processes of the run, in bytes."""
    total = 0
    for pid in stage.alive():
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        except OSError:
            continue
    return total
