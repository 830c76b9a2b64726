"""Lanes and hosts in a line each: which run, with how many shards, under which limit, and which have halted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from prealloc.model.events import HostState, LaneHalted
from prealloc.model.lane import Lane
from prealloc.model.words import quoted
from prealloc.report import human
from prealloc.report.progress import RunProgress
from prealloc.report.shard_progress import LaneProgress
from prealloc.report.visible import visible

HALTED_SHOWN = 3
_COLOURS = {"joins": "dim", "works": "dim", "silent": "yellow", "drains": "yellow"}


def why_halted(halted: LaneHalted, run: str, lanes: Mapping[str, LaneProgress] | None = None) -> str:
    """`its key was refused (HTTP 401): fix OPENAI_API_KEY, then prealloc resume run/`."""
    return visible(f"{halted.reason}: {_what_to_do(halted, run, lanes)}")


def _what_to_do(halted: LaneHalted, run: str, lanes: Mapping[str, LaneProgress] | None) -> str:
    """`lanes` are those of the run, if they are known: one that took over may have halted since."""
    if halted.goes_on and (lanes is None or _is_served(halted.lane, lanes)):
        return f"other lanes take its tasks; {halted.hint}"
    return f"{halted.hint}, then prealloc resume {quoted(run)}"


def _is_served(name: str, lanes: Mapping[str, LaneProgress]) -> bool:
    """Whether another lane goes on that serves one of its models."""
    own = lanes[name].lane.models
    others = (each.lane.models for each in lanes.values() if each.halted is None)
    return any(not own or not models or set(own) & set(models) for models in others)


def halted_lines(progress: RunProgress, most: int = HALTED_SHOWN) -> list[Text]:
    """For each lane that has halted, why, and below it what a user must do; the others are counted."""
    halted = [(name, lane.halted) for name, lane in progress.lanes.items() if lane.halted is not None]
    run = progress.started.run if progress.started is not None else ""
    lines = []
    for name, event in halted[:most]:
        lines.append(Text(f"  lane {visible(name)} halted: {visible(event.reason)}", "bold red"))
        lines.append(Text(visible(f"    {_what_to_do(event, run, progress.lanes)}"), "red"))
    if len(halted) > most:
        lines.append(Text(f"  {human.count(len(halted) - most, 'lane')} more halted", "bold red"))
    return lines


def waits(wait_s: float, http_status: int | None) -> str:
    """`waits 41 s (429)`: the server has asked for it."""
    return f"waits {human.duration(math.ceil(wait_s))}" + (f" ({http_status})" if http_status is not None else "")


def waiting_lanes(progress: RunProgress, now_s: float) -> dict[str, str]:
    """`waits 41 s (429)` for each lane on which everybody waits for the server, the longest wait first."""
    paused = [
        (lane.paused_until_s - now_s, name, lane.paused_status)
        for name, lane in progress.lanes.items()
        if lane.halted is None and lane.paused_until_s > now_s
    ]
    return {name: waits(left_s, status) for left_s, name, status in sorted(paused, key=lambda each: -each[0])}


def lanes_line(progress: RunProgress, width: int | None, now_s: float) -> Text | None:
    """`lanes  a waits 41 s (429) · b 3 workers ≤40/s · 2 more`, cut to the width; None without any that goes on.

    Those that wait for their server come first, then those that run, busiest first; those whose shards only wait are
    counted at the end.
    """
    running = progress.running_on_lanes()
    going_on = [name for name, lane in progress.lanes.items() if lane.halted is None]
    if not going_on or progress.ended is not None:
        return None
    waiting = waiting_lanes(progress, now_s)
    parts = [Text(f"{visible(name)} {told}", "yellow") for name, told in waiting.items()]
    parts += [
        Text(f"{visible(name)} {human.count(running[name], 'worker')}{_limit(progress.lanes[name])}", "dim")
        for name in sorted(running, key=lambda name: -running[name])
        if name in going_on and name not in waiting
    ]
    return _some_of("lanes", parts, len(going_on), width)


def hosts_line(progress: RunProgress, width: int | None) -> Text | None:
    """`hosts  host-2 silent 2 of 8 workers 0.7 GB · 5 more`, the ill ones first; None without hosts."""
    if not progress.hosts or progress.ended is not None:
        return None
    ill_first = sorted(progress.hosts.values(), key=lambda host: host.state == "works")
    parts = [Text(_host(host), _COLOURS[host.state]) for host in ill_first]
    return _some_of("hosts", parts, len(parts), width)


def _host(host: HostState) -> str:
    state = "" if host.state == "works" else f" {host.state}"
    return f"{visible(host.host)}{state} {host.running} of {host.room} workers {human.size(host.memory)}"


def _some_of(name: str, parts: Sequence[Text], every: int, width: int | None) -> Text:
    """`lanes  a · b · 2 more`: as many parts as there is room for; what is left of `every` is counted."""
    line, shown = Text(f"  {name}  ", "dim"), 0
    for part in parts:
        if shown and width is not None and line.cell_len + part.cell_len + 14 > width:
            break
        line.append_text(Text(" · ", "dim") if shown else Text()).append_text(part)
        shown += 1
    more = every - shown
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
    return f" ≤{told}" if told else ""
