"""Which tasks of a library that is read once must be held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Shortlist(Protocol):
    """Tells which tasks may still be chosen while they go by; see planning/shortlist.py."""

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> Sequence[int]:
        """Which of these tasks, by their places in the arguments, must be held."""

    def held(self) -> set[int] | None:
        """Which of all the tasks so far, counted from 0, must still be held; None: all that were."""


class Everything:
    """The shortlist of a library that is read whole."""

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> Sequence[int]:
        return range(len(hashes))

    def held(self) -> None:
        return None
