"""Facts about a library: its types and fields, how large they are, how fast single tasks are read."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from heapq import nsmallest

import msgspec

from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import Library
from prealloc.library.cache import DEFAULT_BYTES, TaskCache
from prealloc.library.rows import NULL, fields_of
from prealloc.model.task_hash import stable_hash, stable_hashes


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks have a value, and how large it is in them, in bytes of compact JSON."""

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
    """The tasks of one type, and the workflows of `looked_at` of them, the lowest by hash."""

    type: str
    tasks: int
    looked_at: int
    sizes: Sizes | None
    """None if none of these has a workflow."""


class FieldStats(Sizes, frozen=True, kw_only=True):
    """A field of tasks that were looked at."""

    name: str


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a library."""

    path: str
    way: str
    """How it was reached: json, index, stream, database, parts, parquet or pool."""
    bytes: int
    sha256: str
    tasks: int
    without_workflow: int
    two_ids: int
    looked_at: int
    """Tasks whose fields were looked at: all of them, unless there are more than were asked for."""
    fields: list[FieldStats]
    """By name. A workflow that is null does not count."""
    types: list[TypeStats]
    trial: Trial | None


def stats_of(library: Library, *, reads: int, cache_bytes: int | None, sampled: int, seed: int) -> Stats:
    """Looks at `sampled` tasks of each type, and reads `reads` tasks at random through a cache."""
    chosen = _chosen(library, sampled)
    workflows: dict[str, list[int]] = {name: [] for name in library.info.types}
    fields: dict[str, array[int]] = {}
    for place, text in zip(chosen, library.texts(chosen), strict=True):
        sizes = _add_sizes(text, fields)
        if "workflow" in sizes:
            workflows[library.types[place]].append(sizes["workflow"])
    return Stats(
        path=library.info.path,
        way=library.way,
        bytes=library.info.bytes,
        sha256=library.info.sha256,
        tasks=library.info.tasks,
        without_workflow=library.counts.without_workflow,
        two_ids=library.counts.two_ids,
        looked_at=len(chosen),
        fields=_field_stats(fields),
        types=[
            TypeStats(
                type=name,
                tasks=count,
                looked_at=min(count, sampled),
                sizes=Sizes(**_sizes(workflows[name])) if workflows[name] else None,
            )
            for name, count in library.info.types.items()
        ],
        trial=_trial(library, reads, cache_bytes, seed) if reads else None,
    )


def field_stats(texts: Iterable[bytes]) -> list[FieldStats]:
    """What fields the tasks of these texts have."""
    fields: dict[str, array[int]] = {}
    for text in texts:
        _add_sizes(text, fields)
    return _field_stats(fields)


def _add_sizes(text: bytes, fields: dict[str, array[int]]) -> dict[str, int]:
    """The sizes of a task's fields, which are added to those of other tasks: 8 bytes for each."""
    sizes = {name: _size(raw) for name, raw in fields_of(text).items() if name != "workflow" or raw != NULL}
    for name, size in sizes.items():
        fields.setdefault(name, array("Q")).append(size)
    return sizes


def _field_stats(fields: dict[str, array[int]]) -> list[FieldStats]:
    return [FieldStats(name=name, **_sizes(sizes)) for name, sizes in sorted(fields.items())]


def _size(raw: msgspec.Raw) -> int:
    try:
        return len(compact(raw))
    except StrictJsonError:  # planning with this field would refuse it; here it only has a size
        return len(bytes(raw))


def _chosen(library: Library, sampled: int) -> list[int]:
    """The places of the tasks that are looked at."""
    # Arrays, and hashes rather than ids where they are at hand: a library may have ten million tasks.
    hashes = library.hashes() or array("Q", stable_hashes(library.ids))
    places: dict[str, array[int]] = {}
    for place, name in enumerate(library.types):
        places.setdefault(name, array("Q")).append(place)
    return sorted(place for mine in places.values() for place in nsmallest(sampled, mine, key=hashes.__getitem__))


def _sizes(found: Iterable[int]) -> dict[str, int]:
    order = sorted(found)
    ends = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
    return {"tasks": len(order), "total": sum(order), **ends}


def _trial(library: Library, reads: int, cache_bytes: int | None, seed: int) -> Trial:
    cache = TaskCache(DEFAULT_BYTES if cache_bytes is None else cache_bytes)
    count, began = library.info.tasks, time.perf_counter()
    favourites = max(1, count // 10)
    for number in range(reads):
        value = stable_hash(f"{seed},{number}")
        cache.get((value >> 1) % (favourites if value & 1 else count), library.task)
    seconds = time.perf_counter() - began
    info = cache.info
    return Trial(reads=reads, seconds=round(seconds, 6), hit_rate=info.hits / reads, cache_bytes=info.most_bytes)
