"""The type of every seat of a stratified sample, seat after seat: the first n seats are a sample of n tasks.

So one seat more takes none away, and no type gets more seats than it has tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from heapq import heapify, heapreplace
from itertools import islice
from math import gcd, lcm

from prealloc.planning import rank
from prealloc.planning.order import schedule


def seats(counts: Mapping[str, int], seed: int, *parts: str) -> Iterator[str]:
    """The type of every seat, as many as there are tasks: ranking 2.

    One schedule of the whole library (see `schedule`), entered at a place that the seed draws and followed around its
    end. Each stretch of n places is the difference of two prefixes, so no type is 2 or more seats off its share
    n * c_t / N; over all places of entry its mean is exactly its share; and where all shares are whole, the seats are
    these shares. The seed also says which of two types comes first where the schedule leaves that open. `parts`
    are further parts of the seed's key.

    The place is u * N, u in [0, 1) from the seed, so that libraries that differ by a task are entered close by.
    """
    total = sum(counts.values())
    names = sorted((name for name, count in counts.items() if count > 0), key=precedence(seed, "seats", *parts))
    entry = rank.key(seed, "", "entry", *parts) * total >> 64
    period = total // gcd(*counts.values()) if total else 1
    cycle = schedule([counts[name] for name in names])
    start = entry % period
    return (names[t] for t in islice(cycle, start, start + total))


def precedence(seed: int, *parts: str) -> Callable[[str], tuple[int, str]]:
    """The sort key of a seeded order of types."""
    key = rank.key(seed, "", *parts)
    return cache(lambda name: (rank.rank(key, rank.stable_hash(name)), name))


def sainte_lague(counts: Mapping[str, int]) -> Iterator[str]:
    """The type of every seat, as many as there are tasks, by the highest quotient c / (2k + 1): ranking 1.

    Equal quotients go by type name, so with as many types as seats the first names get them all, whatever the seed:
    only plans of ranking 1 still use it.
    """
    names = sorted(name for name, count in counts.items() if count > 0)
    # Exact: c / (2k + 1) falls as (2k + 1) * (common / c) rises, a whole number. The type's place in the
    # alphabet is the last digit of it, so that one comparison of two integers also settles a tie.
    common = lcm(*(counts[name] for name in names)) * len(names)
    steps = [common // counts[name] for name in names]
    heap = [step + place for place, step in enumerate(steps)]
    heapify(heap)
    for _ in range(sum(counts.values())):
        first = heap[0]
        place = first % len(names)
        yield names[place]
        heapreplace(heap, first + 2 * steps[place])


def quotas(seats: Iterator[str], n: int) -> Counter[str]:
    """How many of the first n seats each type has."""
    return Counter(islice(seats, n))
