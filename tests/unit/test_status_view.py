"""The page of `prealloc status`."""

from __future__ import annotations

from prealloc.model.outcome import Status
from prealloc.report.status_view import render_status


def test_done_is_what_no_resume_runs_again() -> None:
    """Of units by every status only the final ones are done: not infra, cancelled or not_run."""
    census = {status.value: 1 for status in Status}
    page = render_status(
        run="run",
        plan="3f9a12cdbeef",
        worker="m:f",
        master=None,
        sessions=1,
        shards={"shard-00": census},
        census=census,
        library_opens=0,
        warnings=[],
        resume=None,
    )
    assert "done: 5 of 8 units\n" in page.text(100)
