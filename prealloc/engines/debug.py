"""One attempt at one unit in this very thread, on this very terminal: for debuggers.

As the inline engine runs it, but what the task prints is seen at once, nothing is tried again, and Ctrl-C, or leaving
the debugger, ends the attempt as `cancelled`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.inline import InlineShard
from prealloc.files.paths import parse_journal_name
from prealloc.model.outcome import STOPPED, Status
from prealloc.model.packed_task import PackedTask
from prealloc.model.policy import MOST_THROTTLED
from prealloc.store.journal import JournalFile, read_lines
from prealloc.store.journal_lines import AttemptLine
from prealloc.worker.attempt import Ending, Running
from prealloc.worker.function import WorkerFunction
from prealloc.worker.job import UnitOrder

LEFT = ("KeyboardInterrupt", "bdb.BdbQuit")
"""What Ctrl-C and leaving the debugger raise in a task."""


class UnitJob(ShardJob, frozen=True, kw_only=True):
    """One unit of a shard. Its tasks need not lie in a run folder."""

    planned: Sequence[PackedTask]

    def tasks(self, setup: RunSetup) -> Sequence[PackedTask]:
        return self.planned


def only_order(position: int, repeat: int, attempt: int, retries: int) -> UnitOrder:
    """The order for an attempt that none follows, however it ends."""
    return UnitOrder(position, repeat, attempt, tries=retries, throttled=MOST_THROTTLED)


def debug_unit(job: UnitJob, setup: RunSetup, function: WorkerFunction) -> AttemptLine:
    """Runs the unit, and returns its line of the journal."""
    shard = _DebuggedShard(job, setup, function, lambda: 0.0)
    try:
        shard.clean_up_first()
        shard.step()
    finally:
        shard.close()
        setup.limiter.close()
    path = setup.paths.worker_journal(job.shard, setup.session, 1)
    writer = parse_journal_name(path.name)
    assert writer is not None  # noqa: S101  # narrows the type
    lines = [line.content for line in read_lines(JournalFile(path, writer)) if isinstance(line.content, AttemptLine)]
    return lines[-1]


class _DebuggedShard(InlineShard):
    def _finish(self, running: Running, ending: Ending) -> None:
        left = ending.error is not None and ending.error.type in LEFT
        super()._finish(running, Ending(Status.CANCELLED, error=STOPPED) if left else ending)

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        yield
