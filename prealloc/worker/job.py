"""What a worker process gets in its arguments: the slice, which units of it to run, and how."""

from __future__ import annotations

import pickle
from typing import Annotated, Any, NamedTuple

import msgspec

from prealloc.model.outcome import MOST_ATTEMPTS, Seconds
from prealloc.model.policy import RunPolicy

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_ATTEMPTS)]

Key = tuple[int, int]
"""A unit within its shard: (position, repeat)."""


class UnitOrder(NamedTuple):
    """One unit that a worker is to run: its task's `position` in the shard, and where its count stands."""

    position: Count
    repeat: Count
    attempt: Count
    """The number its next attempt gets."""
    tries: Count = 0
    """Attempts in this session so far that failed: what the retry limit counts."""
    waited_s: Seconds = 0.0
    """Waited in this session so far: what --max-wait bounds."""
    throttled: Count = 0
    """Attempts in this session so far that a server has turned away for a while."""

    @property
    def key(self) -> Key:
        return self[:2]

    @property
    def is_fresh(self) -> bool:
        """No attempt was made at it in this session by the worker that holds it, or by one before."""
        return self.tries == 0 and self.throttled == 0


# What is there once for each unit is shipped as plain tuples: they pickle five times as fast as named ones.
PlainOrder = tuple[int, int, int, int, float, int]
PlainTask = tuple[str, str, bytes, bytes]


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one worker process needs. Its pickle is the slice's bytes and a few hundred more."""

    shard: str
    settings: dict[str, Any]
    lane: str | None = None
    seed: int = 0
    cell: dict[str, Any] | None = None
    """What the seeds of units go by; None: by the shard, as in older plans."""
    copies: dict[str, int] = {}
    """Tasks that earlier shards of the cell have too, and how many of them."""
    tasks: dict[int, PlainTask]
    """PackedTasks by their position in the shard: only those that this worker is to run."""
    timeouts: dict[int, float] = {}
    """By position, the seconds of tasks that name a timeout of their own; it comes before the policy's."""
    orders: tuple[PlainOrder, ...]
    """UnitOrders."""
    worker: str
    import_path: tuple[str, ...] = ()
    policy: RunPolicy
    slots: int = 1
    """Units that may run at once in this process; the engine may change it later."""
    slot: int = 0
    """A number that no other living worker of the run has."""
    journal: str
    library: tuple[tuple[int, int], ...] = ()
    """(device, inode) of the task libraries that no worker may open."""
    cleanup: bool = False
    """Attempts that do not clean up by themselves are cleaned up after: their starts and ends are journalled."""
    host: str | None = None
    """The host that it runs on; None: the machine of the master."""

    def task_id(self, position: int) -> str:
        """Of the task at this position."""
        return self.tasks[position][0]

    def seed_parts(self, task: str, repeat: int) -> tuple[Any, ...]:
        """What the seed of a unit is made of."""
        if self.cell is None:
            return self.seed, self.shard, task, repeat
        return self.seed, self.cell, task, repeat, self.copies.get(task, 0)


class CleanupJob(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to clean up after, in a process of its own."""

    cleanup: str
    """`module:function`."""
    import_path: tuple[str, ...]
    unit: str
    notes: tuple[Any, ...]
    journal: str
    """The folder of the run's journal."""
    library: tuple[tuple[int, int], ...]


def pack(job: WorkerJob | CleanupJob) -> bytes:
    """The job as the bytes that are shipped to a process of our own, never to a file that outlives it."""
    return pickle.dumps(job, protocol=5)


def unpack(payload: bytes) -> WorkerJob | CleanupJob:
    """The job in a payload that `pack` made."""
    job: WorkerJob | CleanupJob = pickle.loads(payload)
    return job
