"""The page of `prealloc status`."""

from __future__ import annotations

from prealloc.model.answers import RunStatus
from prealloc.model.outcome import Status, Successes
from prealloc.report.status_view import render_status


def test_done_is_what_no_resume_runs_again() -> None:
    """Of units by every status only the final ones are done: not infra, cancelled or not_run."""
    census = {status.value: 1 for status in Status}
    success = Successes(decided=5, successes=1, reported=True)
    status = RunStatus(
        run="run",
        plan="3f9a12cdbeef",
        worker="m:f",
        engine="local",
        running=False,
        master=None,
        sessions=1,
        units=8,
        final=5,
        census=census,
        shards={"shard-00": census},
        rate=0.2,
        success=success,
        shard_success={"shard-00": success},
        library_opens=0,
        warnings=[],
        halted=(),
        waiting=(),
        resume=None,
    )
    text = render_status(status).text(120)
    assert "done: 5 of 8 units\n" in text
    assert text.startswith("incomplete: 3 of 8 units have no outcome\n")
    assert [line.split()[-1] for line in text.splitlines() if line.startswith(("shard-00", "total"))] == ["20.0%"] * 2
