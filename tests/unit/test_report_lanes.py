"""Lanes on the screen: which run, under which limit, and which have halted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from run_events import run_started, shard_info

from prealloc.model import events
from prealloc.model.lane import Lane
from prealloc.report.lanes import halted_lines, lanes_line, limit_of
from prealloc.report.plain import PlainReporter, progress_line
from prealloc.report.progress import RunProgress
from prealloc.report.table import render_table

LANES = (
    Lane(name="gpt", queries_per_second=200),
    Lane(name="qwen-key-0", shards_at_once=1, requests_per_minute=600, tokens_per_minute=90_000),
    Lane(name="kimi"),
    Lane(name="idle"),
)


def progress(*told: events.Event, running: dict[str, int] | None = None) -> RunProgress:
    running = running or {}
    names = [(lane, number) for lane, count in running.items() for number in range(count)]
    infos = [shard_info(f"{lane}.{number}", lane=lane) for lane, number in names]
    made = RunProgress()
    made.apply(run_started(*infos, lanes=LANES), 0.0)
    for number, info in enumerate(infos):
        made.apply(events.ShardStarted(shard=info.id, incarnation=1, pid=number + 1, units=1, lane=info.lane), 0.0)
    for event in told:
        made.apply(event, 1.0)
    return made


def test_the_busiest_lanes_come_first_and_the_rest_is_counted() -> None:
    """With the limits they were given; lanes on which nothing runs are only counted."""
    line = lanes_line(progress(running={"kimi": 1, "gpt": 3}), None, 1.0)
    assert line is not None
    assert line.plain == "  lanes  gpt 3 workers ≤200/s · kimi 1 worker · 2 more"


def test_a_halted_lane_has_a_line_that_says_what_to_do() -> None:
    """Why, which variable to fix, and how to go on. A limit that was found stands in the place of the given one."""
    shown = progress(
        events.LaneChanged(lane="gpt", limit=51.2, window_s=1.0, reason="cut"),
        events.LaneHalted(lane="kimi", reason="its key was refused (HTTP 401)", hint="fix KIMI_KEY"),
        running={"kimi": 1, "gpt": 1},
    )
    why, what = (line.plain for line in halted_lines(shown))
    assert why == "  lane kimi halted: its key was refused (HTTP 401)"
    assert what == "    fix KIMI_KEY, then prealloc resume run/"
    table = render_table(shown, 1.0).text(60)
    assert f"{why}\n{what}\n" in table
    line = lanes_line(shown, None, 1.0)
    assert line is not None
    assert line.plain == "  lanes  gpt 1 worker ≤51.2/s · 2 more"
    told = "lane kimi halted: its key was refused (HTTP 401): fix KIMI_KEY, then prealloc resume run/"
    written = io.StringIO()
    with PlainReporter(Console(file=written)) as plain:
        plain.progress = shown
        plain.handle(events.LaneHalted(lane="kimi", reason="its key was refused (HTTP 401)", hint="fix KIMI_KEY"))
    assert told in written.getvalue()


def test_who_waits_for_a_server_is_seen() -> None:
    """Lane by lane, in the table, in plain lines and in the status, until the wait is over; a longer one takes over."""
    shown = progress(
        events.LanePaused(lane="kimi", wait_s=41.0, http_status=429),
        events.LanePaused(lane="gpt", wait_s=90.0, http_status=None),
        running={"kimi": 1, "gpt": 1},
    )
    for now_s, told in ((1.0, "gpt waits 1 min 30 s · kimi waits 41 s (429)"), (32.5, "kimi waits 10 s (429)")):
        assert told in render_table(shown, now_s).text(120)
    assert "kimi" not in progress_line(shown, 42.5)
    assert progress_line(shown, 32.5).endswith("lane gpt waits 59 s  lane kimi waits 10 s (429)")
    assert "waits" not in render_table(shown, 91.5).text(120)
    many = progress(*(events.LanePaused(lane=lane.name, wait_s=9.0, http_status=503) for lane in LANES))
    assert progress_line(many, 1.0).endswith("lane kimi waits 9 s (503)  1 lane more")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_line_keeps_to_the_width(width: int) -> None:
    """Whatever does not fit is counted, so nothing wraps."""
    line = lanes_line(progress(running={lane.name: 2 for lane in LANES}), width, 1.0)
    assert line is not None
    assert line.cell_len <= width
    assert ("more" in line.plain) == (width < 200)


def test_without_lanes_there_is_no_line() -> None:
    """Most plans have none."""
    assert lanes_line(RunProgress(), 80, 0.0) is None


def test_limits_in_words() -> None:
    """All that a lane was given, nothing that it was not."""
    assert limit_of(LANES[0]) == "200/s"
    assert limit_of(LANES[1]) == "600/min, 90,000 tokens/min"
    assert limit_of(LANES[2]) == ""
