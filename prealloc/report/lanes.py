"""Lanes in a line: which run, with how many shards, under which limit, and which have halted."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.lane import Lane
from prealloc.report import human
from prealloc.report.progress import LaneProgress, RunProgress
from prealloc.report.visible import visible


def lanes_line(progress: RunProgress, width: int | None) -> Text | None:
    """`lanes  a halted: its key was refused · b 3 shards 40/s · c 1 shard 12.6/s`, cut to the width; None without any.

    Halted lanes come first, then those that run, busiest first; those that only wait are counted at the end.
    """
    if not progress.lanes:
        return None
    running = progress.running_on_lanes()
    halted = [name for name, lane in progress.lanes.items() if lane.halted]
    busy = sorted(running, key=lambda name: -running[name])
    parts = [Text(f"{visible(name)} halted: {visible(progress.lanes[name].halted or '')}", "red") for name in halted]
    parts += [
        Text(f"{visible(name)} {human.count(running[name], 'shard')}{_limit(progress.lanes[name])}", "dim")
        for name in busy
        if name not in halted
    ]
    line, shown = Text("  lanes  ", "dim"), 0
    for part in parts:
        if shown and width is not None and line.cell_len + part.cell_len + 14 > width:
            break
        line.append_text(Text(" · ", "dim") if shown else Text()).append_text(part)
        shown += 1
    more = len(progress.lanes) - shown
    return line.append(f"{' · ' if shown else ''}{more} more", "dim") if more else line


def limit_of(lane: Lane) -> str:
    """The limits that a lane was given: `40/s`, `500/min`, `90,000 tokens/min`; nothing for one without."""
    limits = (
        (lane.queries_per_second, "/s"),
        (lane.requests_per_minute, "/min"),
        (lane.tokens_per_minute, " tokens/min"),
    )
    return ", ".join(f"{limit:,}{unit}" for limit, unit in limits if limit is not None)


def _limit(lane: LaneProgress) -> str:
    if lane.found is None:
        told = limit_of(lane.lane)
    else:
        limit, window_s = lane.found
        told = f"{limit:.3g}{'/s' if window_s == 1 else f'/{window_s:g} s'}"
    return f" {told}" if told else ""
