"""An endless order of types in which every prefix has them in proportion."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any


def schedule(counts: Sequence[int]) -> Iterator[int]:
    """An endless order of n types with these counts: at each place the number of a type. Nothing without a count.

    In every prefix of length m, type t has less than one place more or less than m * c_t / n, where n = sum(counts);
    so the order repeats itself after n / gcd(counts) places. This is Tijdeman's chairman assignment problem
    (Discrete Mathematics 32, 1980): the k-th place of type t must lie within the places floor((k-1) * n / c_t) + 1
    to ceil(k * n / c_t), its window (Baruah, Cohen, Plaxton and Varvel, "Proportionate progress", Algorithmica 15,
    1996). Spreading each place over its window shows that a fractional order exists, therefore a whole one does, and
    giving each place to the open window that closes first finds it. Equal ends: the lower number. Integers only, so
    that no rounding decides. Memory is for the types, not the places.
    """
    total, width = sum(counts), len(counts)
    opening = {1: [t for t, count in enumerate(counts) if count > 0]}
    placed = [0] * width
    closing: list[int] = []  # the end of a window and the type whose it is, as one number
    for place in itertools.count(1) if total else ():
        for t in opening.pop(place, ()):
            heappush(closing, -(-(placed[t] + 1) * total // counts[t]) * width + t)
        t = heappop(closing) % width
        yield t
        placed[t] += 1
        # Where the type came late, its next window may be open already.
        opening.setdefault(max(placed[t] * total // counts[t], place) + 1, []).append(t)


def in_proportion(picks: Sequence[int], types: Sequence[str], precedence: Callable[[str], Any]) -> list[int]:
    """The picks in a shard's order: types in proportion in every prefix, so that a shard cut short is a fair sample.

    `picks` are positions into `types`; inside a type they stay in their order. Of types that must be placed equally
    soon, the one of the lower `precedence` comes first.
    """
    by_type: dict[str, list[int]] = {}
    for pick in picks:
        by_type.setdefault(types[pick], []).append(pick)
    groups = [by_type[name] for name in sorted(by_type, key=precedence)]
    queues = [iter(group) for group in groups]
    order = itertools.islice(schedule([len(group) for group in groups]), len(picks))
    return [next(queues[t]) for t in order]
