"""What screens show of a part of a run, of a pause, and of a limit that is reached."""

from __future__ import annotations

from run_events import run_started, shard_info

from prealloc.model import events
from prealloc.report.plain import progress_line, start_line, steered_line
from prealloc.report.progress import RunProgress
from prealloc.report.shard_progress import State
from prealloc.report.table import render_table, stopping_line


def started() -> events.RunStarted:
    """Three shards of ten units: half of the first is asked for, of the second nothing, and all of the last is done."""
    return run_started(
        shard_info("a.00", 10, done={"ok": 1}, not_asked=5),
        shard_info("b.00", 10, not_asked=10),
        shard_info("c.00", 10, done={"ok": 10}),
        workers=2,
    )


def after(*happened: events.Event) -> RunProgress:
    progress = RunProgress()
    for event in (started(), events.ShardStarted(shard="a.00", incarnation=1, pid=1, units=4), *happened):
        progress.apply(event, 0.0)
    return progress


def table(progress: RunProgress, height: int | None = None) -> str:
    return render_table(progress, 1.0, height=height).text()


def test_only_what_is_asked_for_is_counted() -> None:
    """A shard of which nothing is asked for is not shown; done is of what was done or asked for."""
    progress = after()
    assert (progress.total.done, progress.total.units) == (11, 15)
    assert "1/5" in table(progress)
    assert "b.00" not in table(progress)
    assert "more:" not in table(progress, height=9)
    assert start_line(started()) == "run/  plan p  local  3 shards  15 of 30 units  2 workers x 1"


def test_a_pause_is_shown() -> None:
    """While nothing may start, there is no time to the end; the numbers are those that hold now."""
    steered = events.RunSteered(workers=10, concurrency=4, paused=True)
    progress = after(steered)
    assert "paused: no further task starts; what runs may end" in table(progress)
    assert "10 workers x 4" in table(progress)
    assert progress.eta_s(5.0) is None
    assert "paused" in progress_line(progress, 5.0)
    assert steered_line(steered) == "prealloc ctl: paused, 10 workers x 4"
    progress.apply(events.RunSteered(workers=1, concurrency=1, concurrency_most=3, paused=False), 6.0)
    assert "paused" not in table(progress)
    assert "1 worker x 1-3" in table(progress)


def test_a_limit_is_shown() -> None:
    """What runs is draining, and the reason stands below; a Ctrl-C after it is shown instead."""
    progress = after(events.LimitReached(reason="max-time 6h is over"))
    assert "max-time 6h is over: no further task starts; what runs may end" in table(progress)
    assert progress.states()[State.DRAINING] == 1
    progress.apply(events.Stopping(drain_s=10.0), 2.0)
    assert (stopping_line(progress, 2.0) or "").startswith("stopping: 0 tasks may finish within 10 s")
