"""A shard's own order: types in proportion in every prefix, so that a shard cut short is a fair sample."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush


def interleave(counts: Sequence[int]) -> list[int]:
    """An order of n = sum(counts) tasks, as the number of the type that each place has.

    In every prefix of length m, type t has less than one task more or less than m * c_t / n. This is
    Tijdeman's chairman assignment problem (Discrete Mathematics 32, 1980): the k-th task of type t must
    stand within the places floor((k-1) * n / c_t) + 1 to ceil(k * n / c_t), its window (Baruah, Cohen,
    Plaxton and Varvel, "Proportionate progress", Algorithmica 15, 1996). Spreading each task over its
    window shows that a fractional order exists, therefore a whole one does, and giving each place to the
    open window that closes first finds it. Equal ends: the lower number. Integers only, so that no rounding
    decides.
    """
    total = sum(counts)
    opening: list[list[int]] = [[] for _ in range(total + 2)]
    opening[min(1, total)] = [t for t, count in enumerate(counts) if count > 0]
    placed = [0] * len(counts)
    closing: list[tuple[int, int]] = []
    order = []
    for place in range(1, total + 1):
        for t in opening[place]:
            heappush(closing, (-(-(placed[t] + 1) * total // counts[t]), t))
        _, t = heappop(closing)
        order.append(t)
        placed[t] += 1
        if placed[t] < counts[t]:
            # Where the task came late, the window of the next one may be open already.
            opening[max(placed[t] * total // counts[t], place) + 1].append(t)
    return order


def in_proportion(picks: Sequence[int], types: Sequence[str]) -> list[int]:
    """The picks in a shard's order: types interleaved, and inside a type the order in which the picks came.

    `picks` are positions into `types`. Types that must be placed equally soon come by name.
    """
    by_type: dict[str, list[int]] = {}
    for pick in picks:
        by_type.setdefault(types[pick], []).append(pick)
    groups = [by_type[name] for name in sorted(by_type)]
    queues = [iter(group) for group in groups]
    return [next(queues[t]) for t in interleave([len(group) for group in groups])]
