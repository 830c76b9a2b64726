"""A line now and then, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from rich.console import Console

from prealloc.model.events import (
    Event,
    HostJoined,
    HostLost,
    LaneHalted,
    LibraryOpenedByWorker,
    LimitReached,
    Note,
    RunEnded,
    RunStarted,
    RunSteered,
    ShardEnded,
    Stopping,
)
from prealloc.model.outcome import Status
from prealloc.report import human
from prealloc.report.lanes import waiting_lanes, why_halted
from prealloc.report.page import plain_for
from prealloc.report.progress import RunProgress
from prealloc.report.reporter import Reporter, Stream
from prealloc.report.summary import render_summary
from prealloc.report.table import stopping_line
from prealloc.report.visible import visible

EVERY_S = 5.0
MOST_EVERY_S = 60.0
WAITING_SHOWN = 3
"""Lanes that wait for their server; the others are counted."""
FEW_SHARDS = 20
"""Up to this many shards, the end of each one is a line."""


class PlainReporter(Reporter):
    """One line at the start, then now and then, when a shard ends if there are few, and the summary."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.progress = RunProgress()
        self._console = console
        self._stream = Stream(console.file)
        self._clock = clock
        self._written_s = clock()

    def handle(self, event: Event, /) -> None:
        now_s = self._clock()
        self.progress.apply(event, now_s)
        match event:
            case RunStarted():
                self._write(start_line(event))
                self._written_s = now_s
            case ShardEnded(shard=shard) if len(self.progress.shards) <= FEW_SHARDS:
                self._write(shard_line(self.progress, shard))
            case LaneHalted():
                run = self.progress.started.run if self.progress.started is not None else ""
                self._write(f"lane {visible(event.lane)} halted: {why_halted(event, run)}")
            case HostJoined():
                self._write(_joined_line(event))
            case HostLost():
                self._write(_lost_line(event))
            case Note(text=text):
                self._write(f"note: {visible(text)}")
            case LibraryOpenedByWorker(shard=shard, path=path):
                self._write(f"a worker opened the task library: {visible(shard)} {visible(path)}")
            case Stopping():
                self._write(stopping_line(self.progress, now_s) or "stopping")
            case LimitReached():
                self._write(stopping_line(self.progress, now_s) or event.reason)
            case RunSteered():
                self._write(steered_line(event))
            case RunEnded() if self.progress.started is not None:
                self._write(progress_line(self.progress, now_s))

    def tick(self, now_s: float, /) -> None:
        if self.progress.started is None or self.progress.ended is not None:
            return
        # A long run is not to fill its log: a line for each further tenth of its time, one a minute at least.
        every_s = min(MOST_EVERY_S, max(EVERY_S, self.progress.elapsed_s(now_s) / 10))
        if now_s - self._written_s >= every_s:
            self._written_s = now_s
            self._write(progress_line(self.progress, now_s))

    def close(self) -> None:
        if self.progress.ended is not None:
            self._write("\n" + render_summary(self.progress, self.progress.ended).text().removesuffix("\n"))

    def _write(self, line: str) -> None:
        self._stream.write(plain_for(self._console, line + "\n"))


def _joined_line(event: HostJoined) -> str:
    """`host-1 joins: node17, after 12 s`."""
    waited = f", after {human.duration(event.waited_s)}" if event.waited_s is not None else ""
    return f"{visible(event.host)} joins: {visible(event.machine)}{waited}"


def _lost_line(event: HostLost) -> str:
    """`host-1 is gone: killed by SIGKILL; 2 shards of it go elsewhere`."""
    shards = f"; {human.count(event.shards, 'shard')} of it go elsewhere" if event.shards else ""
    return f"{visible(event.host)} is gone: {visible(event.reason)}{shards}"


def start_line(event: RunStarted) -> str:
    """`run/  plan 3f9a  local  25 shards  500 units  25 workers x 4`."""
    units = sum(shard.units for shard in event.shards)
    asked = units - sum(shard.not_asked for shard in event.shards)
    return "  ".join(
        [
            visible(event.run),
            f"plan {visible(event.plan)[:8]}",
            visible(event.engine),
            human.count(len(event.shards), "shard"),
            human.count(units, "unit") if asked == units else f"{asked:,} of {human.count(units, 'unit')}",
            f"{human.count(event.workers, 'worker')} x {human.at_once(event.concurrency, event.concurrency_most)}",
        ]
    )


def steered_line(event: RunSteered) -> str:
    """`prealloc ctl: paused, 10 workers x 4`."""
    paused = "paused, " if event.paused else ""
    tasks = human.at_once(event.concurrency, event.concurrency_most)
    return f"prealloc ctl: {paused}{human.count(event.workers, 'worker')} x {tasks}"


def progress_line(progress: RunProgress, now_s: float) -> str:
    """`12 s  340/500 done  ok 330  failed 6  timeout 4  running 25  28.3/s  eta 6 s  lane k1 waits 41 s (429)`."""
    total = progress.total
    eta_s = progress.eta_s(now_s)
    parts = [
        human.duration(round(progress.elapsed_s(now_s))),
        f"{total.done}/{total.units} done",
        f"ok {total.counts.get(Status.OK, 0)}",
        *_not_ok(total.counts),
    ]
    if (success := progress.success_rate(total)) is not None:
        parts.append(f"success {human.share(success, 0)}")
    if progress.ended is None:
        parts.append(f"running {progress.running}")
        parts += ["paused"] if progress.paused else []
    parts.append(human.rate(progress.per_s(now_s)))
    if eta_s is not None:
        parts.append(f"eta {human.duration(round(eta_s))}")
    if progress.memory is not None:
        parts.append(human.size(progress.memory.total))
    if progress.ended is None:
        waiting = waiting_lanes(progress, now_s)
        parts += [f"lane {visible(name)} {told}" for name, told in islice(waiting.items(), WAITING_SHOWN)]
        if len(waiting) > WAITING_SHOWN:
            parts.append(f"{human.count(len(waiting) - WAITING_SHOWN, 'lane')} more")
    return "  ".join(parts)


def shard_line(progress: RunProgress, shard_id: str) -> str:
    """`shard-007 ended  20/20 done  ok 18  failed 2`."""
    shard = progress.shards[shard_id]
    done = f"{shard.done}/{shard.units} done  ok {shard.counts.get(Status.OK, 0)}"
    return "  ".join([f"{visible(shard.id)} ended", done, *_not_ok(shard.counts)])


def _not_ok(counts: dict[str, int]) -> list[str]:
    return [f"{status} {counts[status]}" for status in Status if status != Status.OK and counts.get(status)]
