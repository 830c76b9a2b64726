"""The ways that are compared, in the order of the table."""

from __future__ import annotations

from typing import NamedTuple


class Way(NamedTuple):
    """One way to give workers their tasks."""

    name: str
    """For --ways."""
    title: str
    master: str
    """module:function, the way's master process. A name: what it loads is not for us to load."""
    needs_json: bool
    """Loads the library with the standard library's json."""


WHOLE = Way("whole", "every worker loads the library", "prealloc.memory.way_whole:main", True)
FORK = Way("fork", "fork, tasks as objects", "prealloc.memory.way_fork:main", True)
FORK_GC = Way("fork-gc", "fork, after one collection", "prealloc.memory.way_fork:main_collecting", True)
POOL = Way("pool", "shared pool", "prealloc.memory.way_pool:main", False)
POOL_FORK = Way("pool-fork", "shared pool, workers forked", "prealloc.memory.way_pool:main_forked", False)
PREALLOC = Way("prealloc", "prealloc", "prealloc.api.memory_run:main", False)
WAYS = {way.name: way for way in (WHOLE, FORK, FORK_GC, POOL, POOL_FORK, PREALLOC)}
