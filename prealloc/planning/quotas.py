"""How many tasks of each type: apportionment by Sainte-Laguë.

A. Sainte-Laguë, "La représentation proportionnelle et la méthode des moindres carrés" (1910); in English
the Webster method. Type t's seat k (from 0) has the quotient w_t / (2k + 1), and seats go to the highest
quotients. So the quotas of every number of seats are prefixes of one award sequence: more seats never lower
a quota.

Where the weights are the numbers of tasks, no quota passes its type's number before every task is seated
(the last task of a type has the quotient w / (2w - 1) > 1/2, one too many has w / (2w + 1) < 1/2), and one
task more in the library takes at most one seat from the other types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from itertools import islice
from math import lcm


def awards(weights: Mapping[str, int], *, caps: Mapping[str, int] | None = None) -> Iterator[str]:
    """The type of every seat, in the order in which the seats are awarded. Equal quotients: by type name.

    `weights` are whole numbers from 0 on; a weight of 0 gets no seat. A type leaves when it has as many
    seats as `caps` says (a type without a cap never does), and the sequence ends when all have left.
    """
    limits = caps if caps is not None else {}
    names = sorted(name for name, weight in weights.items() if weight > 0 and limits.get(name, 1) > 0)
    # Exact: w / (2k + 1) falls as (2k + 1) * (common / w) rises, a whole number. The type's place in the
    # alphabet is the last digit of it, so that one comparison of two integers also settles a tie.
    common = lcm(*(weights[name] for name in names)) * len(names)
    steps = [common // weights[name] for name in names]
    left = [limits.get(name, -1) for name in names]  # -1: counts down and never reaches 0
    heap = [step + place for place, step in enumerate(steps)]
    heapify(heap)
    while heap:
        first = heap[0]
        place = first % len(names)
        yield names[place]
        left[place] -= 1
        if left[place] == 0:
            heappop(heap)
        else:
            heapreplace(heap, first + 2 * steps[place])


def sainte_lague(weights: Mapping[str, int], seats: int, *, caps: Mapping[str, int] | None = None) -> dict[str, int]:
    """Each type's share of the seats, in the order of `weights`; types that get none are there with 0.

    The shares sum to `seats`, or to the sum of the caps where that is less.
    """
    shares = Counter(islice(awards(weights, caps=caps), seats))
    return {name: shares[name] for name in weights}
