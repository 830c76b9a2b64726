"""Tasks shared by processes: how much memory 25 readers of a pool add, and how quick reads are beside a manager's."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any, NamedTuple

from prealloc.processes.memory import proportional_bytes

READERS = 25
WATCHED_S = 5.0
TRIAL_S = 3.0


class Memory(NamedTuple):
    """Of all readers together, in bytes of PSS."""

    without: int
    """The same processes, with everything imported, before they attach."""
    first: int
    """With the pool, when each has read every task once."""
    last: int
    """After reading on for some seconds."""
    pool_bytes: int

    @property
    def copies(self) -> float:
        """What the pool adds, in copies of it."""
        return (self.last - self.without) / self.pool_bytes


def readers_memory(pool: Path) -> Memory:
    """Starts the readers, and looks at them before, during and after."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(READERS)]
    readers = [context.Process(target=_reader, args=(str(pool), far)) for _, far in pipes]
    for reader in readers:
        reader.start()
    try:
        for near, _ in pipes:
            near.recv()
        pids = [reader.pid or 0 for reader in readers]
        without = proportional_bytes(pids)
        for near, _ in pipes:
            near.send("read")
        for near, _ in pipes:
            near.recv()
        first = proportional_bytes(pids)
        time.sleep(WATCHED_S)
        last = proportional_bytes(pids)
    finally:
        for near, _ in pipes:
            near.close()
        for reader in readers:
            reader.kill()
            reader.join()
    return Memory(without, first, last, pool.stat().st_size)


def _reader(pool: str, pipe: Connection) -> None:
    from prealloc.library.packed.pool import SharedTaskPool

    pipe.send("ready")
    pipe.recv()
    with SharedTaskPool(pool) as attached:
        for id in attached.ids:
            attached[id].workflow  # noqa: B018  # decoded, as a worker does
        pipe.send("read")
        while not pipe.poll():
            attached.random().workflow  # noqa: B018


class Reads(NamedTuple):
    """Reads per second of all readers together, each giving a task with its workflow's bytes or objects."""

    way: str
    per_s: float


def reads_per_second(library: Path, pool: Path, processes: int) -> list[Reads]:
    """A pool beside `multiprocessing.Manager().dict()`, which holds the same tasks as text or as objects."""
    tasks = json.loads(library.read_bytes())["tasks"]
    ids = [task["instance_id"] for task in tasks]
    context = multiprocessing.get_context("spawn")
    found = [
        Reads("SharedTaskPool, workflow as bytes", _trial(context, processes, _pool_reads, (str(pool), ids, False))),
        Reads("SharedTaskPool, workflow decoded", _trial(context, processes, _pool_reads, (str(pool), ids, True))),
    ]
    with context.Manager() as manager:
        as_objects = _dictionary(manager, {task["instance_id"]: task["workflow"] for task in tasks})
        found.append(
            Reads("Manager().dict(), workflow as objects", _trial(context, processes, _reads, (as_objects, ids)))
        )
        texts = {task["instance_id"]: json.dumps(task["workflow"], separators=(",", ":")).encode() for task in tasks}
        as_bytes = _dictionary(manager, texts)
        found.append(Reads("Manager().dict(), workflow as bytes", _trial(context, processes, _reads, (as_bytes, ids))))
    return found


def _dictionary(manager: SyncManager, content: dict[str, Any]) -> Any:
    shared = manager.dict()
    for id, value in content.items():
        shared[id] = value
    return shared


def _trial(context: Any, processes: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> float:
    counts = context.SimpleQueue()
    start = context.Barrier(processes)
    readers = [context.Process(target=target, args=(*arguments, counts, start)) for _ in range(processes)]
    for reader in readers:
        reader.start()
    rates = [counts.get() for _ in readers]
    for reader in readers:
        reader.join()
    return sum(rates)


def _pool_reads(pool: str, ids: list[str], decoded: bool, counts: Any, start: Any) -> None:
    from prealloc.library.packed.pool import SharedTaskPool

    with SharedTaskPool(pool) as attached:

        def read(id: str) -> None:
            task = attached[id]
            if decoded:
                task.workflow  # noqa: B018

        for id in ids:  # each is checked at its first read
            read(id)
        _count(read, ids, counts, start)


def _reads(shared: Any, ids: list[str], counts: Any, start: Any) -> None:
    _count(lambda id: shared[id], ids, counts, start)


def _count(read: Callable[[str], object], ids: list[str], counts: Any, start: Any) -> None:
    draw = random.Random(1)
    start.wait()
    began = time.perf_counter()
    number = 0
    while (seconds := time.perf_counter() - began) < TRIAL_S:
        for _ in range(10):
            read(ids[int(draw.random() * len(ids))])
        number += 10
    counts.put(number / seconds)
