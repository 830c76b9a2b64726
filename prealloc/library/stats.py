"""What there is to know of a library: its types, how large its workflows are, how quickly single tasks are had."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from heapq import nsmallest

import msgspec

from prealloc.library.base import Library
from prealloc.library.cache import DEFAULT_BYTES, TaskCache
from prealloc.model.task_hash import stable_hash, stable_hashes


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How large the compact workflows of some tasks are, in bytes."""

    tasks: int
    smallest: int
    median: int
    largest: int
    total: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Random tasks, read one by one."""

    reads: int
    seconds: float
    hit_rate: float
    """Of the cache: reads of tasks that were in it, of all reads, 0 to 1."""
    cache_bytes: int


class TypeStats(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of one type; the sizes are those of `sizes.tasks` of them, the lowest by hash."""

    type: str
    tasks: int
    sizes: Sizes


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a library."""

    path: str
    way: str
    """How it was reached: json, index, stream, database, parts, parquet or pool."""
    bytes: int
    sha256: str
    tasks: int
    without_workflow: int
    two_ids: int
    types: list[TypeStats]
    trial: Trial | None


def stats_of(
    library: Library, *, reads: int = 0, cache_bytes: int | None = None, sampled: int = 100, seed: int = 0
) -> Stats:
    """Looks at `sampled` tasks of each type, and reads `reads` tasks at random through a cache."""
    return Stats(
        path=library.info.path,
        way=library.way,
        bytes=library.info.bytes,
        sha256=library.info.sha256,
        tasks=library.info.tasks,
        without_workflow=library.without_workflow,
        two_ids=library.two_ids(),
        types=_types(library, sampled),
        trial=_trial(library, reads, cache_bytes, seed) if reads else None,
    )


def _types(library: Library, sampled: int) -> list[TypeStats]:
    # Arrays, and hashes rather than ids where they are at hand: a library may have ten million tasks.
    hashes = library.hashes() or array("Q", stable_hashes(library.ids))
    places: dict[str, array[int]] = {}
    for place, name in enumerate(library.types):
        places.setdefault(name, array("Q")).append(place)
    found = []
    for name, mine in sorted(places.items()):
        chosen = nsmallest(sampled, mine, key=hashes.__getitem__)
        sizes = sorted(len(task.workflow_json) for task in library.tasks(chosen))
        found.append(TypeStats(type=name, tasks=len(mine), sizes=_sizes(sizes)))
    return found


def _sizes(sizes: Sequence[int]) -> Sizes:
    return Sizes(
        tasks=len(sizes), smallest=sizes[0], median=sizes[len(sizes) // 2], largest=sizes[-1], total=sum(sizes)
    )


def _trial(library: Library, reads: int, cache_bytes: int | None, seed: int) -> Trial:
    cache = TaskCache(DEFAULT_BYTES if cache_bytes is None else cache_bytes)
    count = library.info.tasks
    favourites = max(1, count // 10)
    began = time.perf_counter()
    for number in range(reads):
        value = stable_hash(f"{seed},{number}")
        cache.get((value >> 1) % (favourites if value & 1 else count), library.task)
    seconds = time.perf_counter() - began
    info = cache.info
    return Trial(reads=reads, seconds=round(seconds, 6), hit_rate=info.hits / reads, cache_bytes=info.most_bytes)
