"""What people read of the hosts of a run."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.events import HostJoined, HostLost, HostState
from prealloc.report import human
from prealloc.report.lanes import some_of
from prealloc.report.progress import RunProgress
from prealloc.report.visible import visible

_COLOURS = {"joins": "dim", "works": "dim", "silent": "yellow", "drains": "yellow"}


def joined_line(event: HostJoined) -> str:
    """`host-1 joins: node17, after 12 s`."""
    waited = f", after {human.duration(event.waited_s)}" if event.waited_s is not None else ""
    return f"{visible(event.host)} joins: {visible(event.machine)}{waited}"


def lost_line(event: HostLost) -> str:
    """`host-1 is gone: killed by SIGKILL; 2 shards of it go elsewhere`."""
    shards = f"; {human.count(event.shards, 'shard')} of it go elsewhere" if event.shards else ""
    return f"{visible(event.host)} is gone: {visible(event.reason)}{shards}"


def hosts_line(progress: RunProgress, width: int | None) -> Text | None:
    """`hosts  host-2 silent 2 of 8 workers 0.7 GB · 5 more`, the ill ones first; None without hosts."""
    if not progress.hosts or progress.ended is not None:
        return None
    ill_first = sorted(progress.hosts.values(), key=lambda host: host.state == "works")
    parts = [Text(_told(host), _COLOURS[host.state]) for host in ill_first]
    return some_of("hosts", parts, len(parts), width)


def hosts_fact(progress: RunProgress) -> str | None:
    """`3, 1 of them lost`; None without hosts."""
    if not progress.hosts_joined:
        return None
    return f"{progress.hosts_joined}" + (f", {progress.hosts_lost} gone before the end" if progress.hosts_lost else "")


def _told(host: HostState) -> str:
    state = "" if host.state == "works" else f" {host.state}"
    return f"{visible(host.host)}{state} {host.running} of {host.room} workers {human.size(host.memory)}"
