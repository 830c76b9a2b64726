"""What is found. Memory is in bytes, times are in seconds from the start of the way, interpreters included."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["measured", "scaled", "left_out", "failed"]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at all processes of a way. Sums of what ran, never scaled."""

    at_s: float
    ready: int
    """Workers that have read all their tasks."""
    workers_pss: int
    workers_uss: int
    master_pss: int
    """Of all other processes: the master, and those that it started to start workers."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at the end."""

    pid: int
    pss: int
    uss: int
    first_task_s: float


class WayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One way. All figures are None if it was left out or failed; then `note` says why.

    If it was scaled, fewer workers ran than were asked for: the workers' memory is then what all of them would take
    if the others took as much, and the times are those of the workers that ran.
    """

    way: str
    title: str
    status: Status
    note: str | None = None
    started: int = 0
    """Workers that ran."""
    workers_pss: int | None = None
    workers_uss: int | None = None
    worker_pss: int | None = None
    """The mean of one worker."""
    master_pss: int | None = None
    total_pss: int | None = None
    """Workers and master at the end."""
    peak_pss: int | None = None
    """The most that workers and master had together in any sample."""
    growth_pss: int | None = None
    """Of workers and master, from the first sample with all workers ready to the last."""
    first_task_s: float | None = None
    """The first worker has its first task's workflow decoded and read."""
    last_first_task_s: float | None = None
    """The last worker has."""
    prepared_s: float | None = None
    """What of it was spent on a file that is made once per library."""
    times_prealloc: float | None = None
    """`total_pss` over that of the way prealloc; None if that was not measured."""
    library_opens: int | None = None
    """By workers, as prealloc's guard counted; None for ways without one."""
    samples: tuple[Sample, ...] = ()
    processes: tuple[Process, ...] = ()


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All ways, and what was compared."""

    library: str
    library_bytes: int
    library_tasks: int
    workers: int
    num_instances: int
    seconds: float
    """How long each way was watched."""
    seed: int
    strategy: str
    """Of the plan that the way prealloc made."""
    machine: dict[str, str]
    ways: tuple[WayFigures, ...]

    @property
    def exit_code(self) -> int:
        """1 if a way failed, else 0."""
        return int(any(way.status == "failed" for way in self.ways))
