"""Every task's place in a seeded order, from its id alone: ranking instead of shuffling.

`rank = mix(h(id) XOR h(seed, stratum))`: h is 64 bits of BLAKE2b (RFC 7693), mix the finaliser of
splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the
constants are variant 13 of Stafford's mixers). A task's rank depends on no other task, so adding one moves
none of the others. Since mix is a bijection, two tasks share a rank only where their 64-bit hashes are
equal; then the ids decide.

`prealloc.model.plan.RANKINGS` names the schemes: change a bit here and a new name is due.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from heapq import nsmallest

from prealloc.model.task_hash import stable_hash, stable_hashes

__all__ = ["choose", "key", "rank", "ranks", "stable_hash", "stable_hashes"]

_MASK = 2**64 - 1
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

_SORT_FROM = 8
"""Above one task in this many, sorting all ranks is quicker than keeping a heap of the lowest."""


def key(seed: int, *parts: str) -> int:
    """The 64-bit key of one ranking: the hash of the compact JSON array `[seed, part, ...]`.

    JSON keeps the parts apart, so that ("ab", "c") and ("a", "bc") have different keys, and
    a key is never made by arithmetic on a seed.
    """
    return stable_hash(json.dumps([seed, *parts], ensure_ascii=False, separators=(",", ":")))


def rank(key: int, task_hash: int) -> int:
    """The rank, 0 to 2**64 - 1, of a task's hash under a key. The lowest ranks are the sample."""
    z = task_hash ^ key
    z = (z ^ (z >> 30)) * _MIX_1 & _MASK
    z = (z ^ (z >> 27)) * _MIX_2 & _MASK
    return z ^ (z >> 31)


def ranks(key: int, hashes: Sequence[int]) -> list[int]:
    """`[rank(key, h) for h in hashes]`, written as one expression: a call a task would double its cost."""
    m, m1, m2 = _MASK, _MIX_1, _MIX_2
    return [(z := ((z := ((z := h ^ key) ^ (z >> 30)) * m1 & m) ^ (z >> 27)) * m2 & m) ^ (z >> 31) for h in hashes]


def choose(hashes: Sequence[int], ids: Sequence[str], key: int, n: int) -> list[int]:
    """The positions of the n lowest ranks (all, where there are fewer), in rank order, ties by id.

    `hashes[i]` is `stable_hash(ids[i])`. Depends on the ids as a set, not on their order.
    """
    ranked = ranks(key, hashes)
    if n <= 0 or not ranked:
        return []
    if n * _SORT_FROM < len(ranked):
        # Every task that ties with the n-th rank stays a candidate until the ids have decided.
        highest = nsmallest(n, ranked)[-1]
        found = [i for i, r in enumerate(ranked) if r <= highest]
    else:
        found = list(range(len(ranked)))
    if len({ranked[i] for i in found}) < len(found):
        found.sort(key=ids.__getitem__)  # the next sort is stable; ties are too rare to pay this always
    found.sort(key=ranked.__getitem__)
    return found[:n]
