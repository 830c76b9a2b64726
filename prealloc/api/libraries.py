"""index(), convert(), stats(): what is done with task libraries themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from prealloc.errors import LibraryError, Mistake, OptionsError
from prealloc.library import read_library
from prealloc.library.open import json_file
from prealloc.model.options import read_bytes_or_none, read_whole
from prealloc.planning import rank

if TYPE_CHECKING:
    from prealloc.library.base import Library
    from prealloc.library.convert import Converted
    from prealloc.library.index import IndexMade

Progress = Callable[[int, int], None]


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
    hit_rate: float | None
    """Of the cache: reads of tasks that were in it, of all reads. None: this way of reading has no cache."""
    cache_bytes: int | None


class TypeStats(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of one type; the sizes are those of the first `sizes.tasks` in the ranking of seed 0."""

    type: str
    tasks: int
    sizes: Sizes


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a library."""

    path: str
    way: str
    """How it was reached: the name of the class that reads it."""
    bytes: int
    sha256: str
    tasks: int
    without_workflow: int
    two_ids: int
    types: list[TypeStats]
    trial: Trial | None


def index(library: str | Path, *, difficulty: str | None = None, progress: Progress | None = None) -> IndexMade:
    """Makes the index of a JSON library file, beside it or in the user's cache folder. Raises LibraryError."""
    from prealloc.library.index import make_index

    return make_index(_json(library, difficulty), progress=progress)


def check_index(library: str | Path, *, difficulty: str | None = None, progress: Progress | None = None) -> str:
    """Reads the whole library again and compares it with its index; gives its sha256. Raises LibraryError."""
    from prealloc.library.index import check_index

    with check_index(_json(library, difficulty), progress=progress) as checked:
        return checked.identity.sha256


def convert(
    library: str | Path,
    out: str | Path,
    *,
    to: str | None = None,
    force: bool = False,
    difficulty: str | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Writes the tasks of a library in another format: see prealloc.library.convert."""
    from prealloc.library.convert import convert

    return convert(library, out, to=to, force=force, difficulty=difficulty, progress=progress)


def stats(
    library: str | Path,
    *,
    difficulty: str | None = None,
    reads: int = 0,
    cache_bytes: int | str | None = None,
    sampled: int = 100,
    seed: int = 0,
    notes: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Stats:
    """Types, numbers and sizes of a library; with `reads` also a trial of so many random reads.

    The trial reads each task as often as chance will, half of the reads from a tenth of the tasks, as users of a
    library do who come back to some of them. `cache_bytes` bounds the cache of an index. Raises LibraryError.
    """
    mistakes: list[Mistake] = []
    reads = read_whole("--reads", reads, mistakes, least=0, most=10**9)
    sampled = read_whole("--sampled", sampled, mistakes, least=1, most=10**9)
    most_bytes = read_bytes_or_none("--cache", cache_bytes, mistakes, least=0)
    if mistakes:
        raise OptionsError(mistakes)
    opened = read_library(library, difficulty=difficulty, notes=notes, progress=progress)
    return Stats(
        path=opened.info.path,
        way=type(opened).__name__,
        bytes=opened.info.bytes,
        sha256=opened.info.sha256,
        tasks=opened.info.tasks,
        without_workflow=opened.without_workflow,
        two_ids=opened.two_ids(),
        types=_types(opened, sampled),
        trial=_trial(opened, reads, most_bytes, seed) if reads else None,
    )


def _json(library: str | Path, difficulty: str | None) -> Path:
    file = json_file(library, difficulty)
    if file is None:
        mend = "plan from it as it is: only JSON files need an index"
        raise LibraryError("any of its tasks can be read without one", where=str(library), mend=mend)
    return file


def _types(library: Library, sampled: int) -> list[TypeStats]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(library.types):
        places.setdefault(name, []).append(place)
    found = []
    for name, mine in sorted(places.items()):
        ids = [library.ids[place] for place in mine]
        chosen = rank.choose(rank.stable_hashes(ids), ids, rank.key(0, name), sampled)
        sizes = sorted(len(task.workflow_json) for task in library.tasks(mine[i] for i in chosen))
        found.append(TypeStats(type=name, tasks=len(mine), sizes=_sizes(sizes)))
    return found


def _sizes(sizes: Sequence[int]) -> Sizes:
    return Sizes(
        tasks=len(sizes), smallest=sizes[0], median=sizes[len(sizes) // 2], largest=sizes[-1], total=sum(sizes)
    )


def _trial(library: Library, reads: int, cache_bytes: int | None, seed: int) -> Trial:
    from prealloc.library.cache import DEFAULT_BYTES, TaskCache

    cache = TaskCache(DEFAULT_BYTES if cache_bytes is None else cache_bytes)
    count = library.info.tasks
    favourites = max(1, count // 10)
    began = time.perf_counter()
    for number in range(reads):
        value = rank.stable_hash(f"{seed},{number}")
        cache.get((value >> 1) % (favourites if value & 1 else count), library.task)
    seconds = time.perf_counter() - began
    return Trial(
        reads=reads, seconds=round(seconds, 6), hit_rate=cache.info.hit_rate, cache_bytes=cache.info.most_bytes
    )
