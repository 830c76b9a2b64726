"""Which tasks a plan may choose, told while they go by: of each of its draws the lowest ranks so far.

A plan takes the lowest ranks of a stratum (see rank.py), and how many at most is known before the library is. So of
a library that is larger than memory, only the tasks that would be chosen if it ended here need be held. In the end
the planner chooses from these alone, and its choice is the one it would make from all.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from prealloc.model.plan_spec import PlanSpec
from prealloc.planning import rank
from prealloc.planning.planner import ALL_TYPES, is_eligible, most_of_stratum

_SLACK = 64
_CHUNK = 1 << 16


class Shortlist:
    """The tasks that may be chosen for a spec whose cells have these numbers of shards.

    Memory grows with what is asked for, times the types if it is asked for by type. Tasks are told apart by the order
    in which they are offered, from 0.
    """

    def __init__(self, spec: PlanSpec, shards: Iterable[int]) -> None:
        self._spec = spec
        self._shards = sorted(set(shards))
        self._by_type = spec.amount.by_type
        self._draws: dict[str, list[_Lowest]] = {}
        self._all: list[int] = []
        self._seen = 0

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> list[int]:
        """The next tasks. Gives those that may be chosen so far, by their places in the arguments, in order."""
        first, self._seen = self._seen, self._seen + len(hashes)
        wanted: set[int] = set()
        for name, places in self._strata(types).items():
            if self._spec.whole:
                self._all += [first + place for place in places]
                wanted.update(places)
                continue
            mine = hashes if len(places) == len(hashes) else [hashes[place] for place in places]
            for draw in self._draws_of(name):
                wanted.update(places[i] for i in draw.offer(mine, [first + place for place in places]))
        return sorted(wanted)

    def held(self) -> set[int]:
        """Which of all tasks so far may still be chosen."""
        return set(self._all).union(*(draw.held() for draws in self._draws.values() for draw in draws))

    def _strata(self, types: Sequence[str]) -> dict[str, Sequence[int]]:
        """The places of the tasks that are ranked together, without those that cannot be chosen."""
        names = set(types)
        eligible = {name for name in names if is_eligible(self._spec, name)}
        if eligible == names and not self._by_type:
            return {ALL_TYPES: range(len(types))}
        strata: dict[str, list[int]] = {name: [] for name in (sorted(eligible) if self._by_type else [ALL_TYPES])}
        for place, name in enumerate(types):
            if name in eligible:
                strata[name if self._by_type else ALL_TYPES].append(place)
        return dict(strata)

    def _draws_of(self, stratum: str) -> list[_Lowest]:
        found = self._draws.get(stratum)
        if found is None:
            most = max(most_of_stratum(self._spec, stratum, shards) for shards in self._shards)
            independent = self._spec.strategy == "independent"
            parts = [(str(shard),) for shard in range(max(self._shards))] if independent else [()]
            keys = [rank.key(self._spec.seed, stratum, *part) for part in parts]
            found = self._draws[stratum] = [_Lowest(key, most) for key in keys]
        return found


class WithListed:
    """A shortlist of the tasks that are not listed, beside all that are: what is left of those is told at the end."""

    def __init__(self, others: Shortlist, listed: Iterable[int], takes_others: bool) -> None:
        self._others = others
        self._listed = frozenset(listed)
        self._takes_others = takes_others
        self._held: set[int] = set()
        self._places = array("Q")
        """Where each task is that went to the others."""
        self._seen = 0

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> list[int]:
        mine = [place for place, value in enumerate(hashes) if value in self._listed]
        self._held.update(self._seen + place for place in mine)
        if self._takes_others:
            rest = [place for place, value in enumerate(hashes) if value not in self._listed]
            self._places.extend(self._seen + place for place in rest)
            wanted = self._others.offer([hashes[place] for place in rest], [types[place] for place in rest])
            mine += [rest[place] for place in wanted]
        self._seen += len(hashes)
        return sorted(mine)

    def held(self) -> set[int]:
        return self._held.union(self._places[place] for place in self._others.held())


def shortlist_of(spec: PlanSpec, shards: Iterable[int], hashes: Sequence[int], types: Sequence[str]) -> list[int]:
    """The positions of the tasks that may be chosen, of a library that is open but too long to read twice."""
    shortlist = Shortlist(spec, shards)
    for start in range(0, len(hashes), _CHUNK):
        shortlist.offer(hashes[start : start + _CHUNK], types[start : start + _CHUNK])
    return sorted(shortlist.held())


class _Lowest:
    """The n tasks of the lowest ranks so far, and those that tie with the last of them."""

    def __init__(self, key: int, n: int) -> None:
        self._key = key
        self._n = n
        self._limit = 2**64 - 1
        self._found: list[tuple[int, int]] = []

    def offer(self, hashes: Sequence[int], numbers: Sequence[int]) -> list[int]:
        """The places of those that are among the lowest so far, as far as that has been worked out."""
        limit = self._limit
        low = [(place, value) for place, value in enumerate(rank.ranks(self._key, hashes)) if value <= limit]
        self._found += [(value, numbers[place]) for place, value in low]
        if len(self._found) > self._n + max(self._n // 4, _SLACK):
            self._cut()
        return [place for place, value in low if value <= self._limit]

    def held(self) -> list[int]:
        self._cut()
        return [number for _, number in self._found]

    def _cut(self) -> None:
        if len(self._found) <= self._n:
            return
        self._found.sort()
        self._limit = self._found[self._n - 1][0] if self._n else -1
        end = self._n
        while end < len(self._found) and self._found[end][0] == self._limit:
            end += 1
        del self._found[end:]
