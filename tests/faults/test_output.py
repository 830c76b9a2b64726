"""Row 19: workers print what they like. It goes to their shard's log, which has a cap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import Stage

from examples import in_laws

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


@pytest.mark.parametrize("closed", [in_laws(">&-"), in_laws("2>&-"), "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed(stage: Stage, closed: str) -> None:
    """The run is all ok, and so is its exit code; no journal or log gets the number of a closed stream."""
    stage.make_plan({"t": {"do": "flood", "mb": 1}, "u": {"do": "ok"}})
    wrap = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh"]
    words = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run))
    session = stage.command(*words, wrap=wrap)
    assert session.wait() == 0, session.output()
    assert "Traceback" not in session.output()
    status = stage.command("status", str(stage.run))
    assert status.wait() == 0, status.output()
    assert stage.command("status", str(stage.run), wrap=wrap).wait() == 0
    stage.check(session)


def test_a_working_directory_that_is_removed(stage: Stage) -> None:
    """What has a full path runs; what has not is refused with 2. Never a traceback."""
    stage.make_plan(2)
    wrap = ["/bin/sh", "-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', str(stage.root / "gone")]
    worker = "prealloc.agents.simulate:run"
    session = stage.command("run", str(stage.plan), "--worker", worker, "--out", str(stage.run), wrap=wrap)
    assert session.wait() == 0, session.output()
    for words in (
        ("run", "plan", "--worker", worker, "--out", "run"),
        ("run", str(stage.plan), "--worker", worker, "--out", "run"),
        ("status", "run"),
        ("plan", "library.json", "--out", "plan2"),
    ):
        refused = stage.command(*words, wrap=wrap)
        assert refused.wait() == 2, refused.output()
        assert "Traceback" not in refused.output()


def memory_of(stage: Stage) -> int:
    """The resident memory of all processes of the run, in bytes."""
    total = 0
    for pid in stage.alive():
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        except OSError:
            continue
    return total
