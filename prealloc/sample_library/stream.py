"""Numbers for the sample library: reproducible on every Python version, unlike the streams of `random`.

A task's numbers come from hashing the seed and its index, so that task 7 is the same in every sample.
The stream is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_MASK = 2**64 - 1


class Stream:
    """An endless stream of 64-bit numbers."""

    def __init__(self, seed: int, *names: str | int) -> None:
        key = ":".join(str(name) for name in (seed, *names)).encode()
        self._state = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return (state ^ (state >> 31)) % n

    def score(self) -> float:
        """A number from 0.1 to 1, with as many digits as real scores have; never spelled with an exponent."""
        return 0.1 + 0.9 * (self.below(2**53) / 2**53)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def some(self, items: Sequence[T], n: int) -> list[T]:
        """n different items, fewer if there are not so many."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(n, len(left)))]


def unique_32(seed: int, index: int) -> int:
    """A 32-bit number that no other index below 2**32 has: every step can be undone."""
    key = int.from_bytes(blake2b(f"{seed}:ids".encode(), digest_size=8).digest(), "little")
    value = (index ^ key) & 0xFFFFFFFF
    for multiplier in (0x7FEB352D, 0x846CA68B):  # odd, hence each a bijection modulo 2**32
        value ^= value >> 16
        value = (value * multiplier) & 0xFFFFFFFF
    return (value ^ (value >> 15)) ^ (key >> 32)
