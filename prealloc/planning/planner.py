"""The plan's choice: from ids, types and spec to the tasks of every shard, in order. A pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from prealloc.errors import Mistake, OptionsError, refuse
from prealloc.model.amount import All, PerType, Quotas, Tasks
from prealloc.model.plan import PlanFile
from prealloc.model.plan_spec import MAX_UNITS, PlanSpec
from prealloc.planning import rank
from prealloc.planning.deal import deal, deal_alike, deal_seats, deal_types, hand_out, hands_of
from prealloc.planning.order import in_proportion
from prealloc.planning.quotas import precedence, quotas, sainte_lague, seats
from prealloc.planning.refusals import find_mistakes

ALL_TYPES = ""
"""The stratum of a sample that is not taken by type. No type has this name: a type is never empty."""


class _Stratum(NamedTuple):
    """The tasks that are ranked together. `places` are positions into the library's ids."""

    name: str
    places: list[int]
    ids: list[str]
    hashes: list[int]

    def lowest(self, n: int, seed: int, *parts: str) -> list[int]:
        key = rank.key(seed, self.name, *parts)
        return [self.places[i] for i in rank.choose(self.hashes, self.ids, key, n)]


def choose_tasks(
    spec: PlanSpec, ids: Sequence[str], types: Sequence[str], available: Mapping[str, int] | None = None
) -> list[list[int]]:
    """For each shard the positions of its tasks in `ids`, in the shard's order.

    `ids` are unique, and `types[i]` is the type of `ids[i]`. The same ids and types in another order give
    the same tasks in the same order. Where they are only those of a Shortlist, `available` is the number of tasks of
    each type in the whole library. Raises OptionsError, with every mistake, where the library cannot serve the spec.
    """
    available = dict(sorted((Counter(types) if available is None else available).items()))
    eligible = {name: count for name, count in available.items() if is_eligible(spec, name)}
    mistakes = find_mistakes(spec, available, eligible)
    refuse(mistakes)

    strata = _strata(ids, types, eligible, spec.amount.by_type)
    sizes = spec.shard_sizes or ()
    dealt = replace(spec, shards=sum(sizes), shard_sizes=UNSET) if sizes else spec
    if spec.strategy == "disjoint" and spec.stratify:
        picks = _deal_stratified(dealt, strata, eligible)
    else:
        picks = _sample_strata(dealt, strata, eligible)
    if sizes:
        picks = _put_together(picks, sizes, [stratum.lowest(len(stratum.ids), spec.seed) for stratum in strata])
    units = sum(map(len, picks)) * spec.repeats
    if units > MAX_UNITS:
        problem = f"the plan would have {units:,} units; one plan holds up to {MAX_UNITS:,}"
        raise OptionsError([Mistake("shards x tasks x repeats", problem, "ask for less, or make several plans")])
    return [in_proportion(shard, types, _type_order(spec, number)) for number, shard in enumerate(picks)]


def shard_ids(n: int, begin: str = "shard-") -> list[str]:
    """The ids of n shards: `shard-00`, `shard-01`, ... all of one width, at least two digits."""
    width = max(2, len(str(n - 1)))
    return [f"{begin}{number:0{width}d}" for number in range(n)]


def most_of_stratum(spec: PlanSpec, stratum: str, shards: int) -> int:
    """The most tasks that one draw of a stratum can take in a cell of so many shards."""
    return spec.amount.most(stratum) * spec.hands(shards)


def is_eligible(spec: PlanSpec, name: str) -> bool:
    """Whether tasks of a type can be chosen."""
    if spec.types and name not in spec.types:
        return False
    return not spec.quotas or spec.quotas.get(name, 0) > 0


class TypeLeftOut(NamedTuple):
    """A type that could have been chosen and has no task in a plan."""

    type: str
    tasks: int
    """In the library."""
    share: float
    """Of all tasks that could have been chosen."""


def types_left_out(plan: PlanFile) -> list[TypeLeftOut]:
    """The types that could have been chosen and have no task in the plan, those with most tasks first."""
    available: Counter[str] = Counter()
    for library in plan.libraries:
        available |= Counter({name: n for name, n in library.types.items() if is_eligible(plan.spec, name)})
    chosen = {name for entry in plan.shards for name in entry.types}
    total = available.total()
    left = [TypeLeftOut(name, n, n / total) for name, n in available.items() if name not in chosen]
    return sorted(left, key=lambda each: (-each.tasks, each.type))


def _seats(spec: PlanSpec, counts: Mapping[str, int], *parts: str) -> Iterator[str]:
    return sainte_lague(counts) if spec.ranking is UNSET else seats(counts, spec.seed, *parts)


def _type_order(spec: PlanSpec, shard: int) -> Callable[[str], Any]:
    """Which of two types comes first in a shard where their proportion leaves that open."""
    if spec.ranking is UNSET:
        return str
    return precedence(spec.seed, "order", *([] if spec.strategy == "paired" else [str(shard)]))


def _strata(ids: Sequence[str], types: Sequence[str], eligible: Collection[str], by_type: bool) -> list[_Stratum]:
    places: dict[str, list[int]] = {name: [] for name in eligible} if by_type else {ALL_TYPES: []}
    for place, name in enumerate(types):
        if name in eligible:
            places[name if by_type else ALL_TYPES].append(place)
    strata = []
    for name, found in places.items():
        names = [ids[place] for place in found]
        strata.append(_Stratum(name, found, names, rank.stable_hashes(names)))
    return strata


def _quotas_of(spec: PlanSpec, eligible: Mapping[str, int], *parts: str) -> Mapping[str, int]:
    """How many tasks of each stratum are taken at once."""
    match spec.amount.what:
        case Quotas(by_type):
            return by_type
        case PerType(n):
            return dict.fromkeys(eligible, n)
        case Tasks(n, in_proportion):
            return quotas(_seats(spec, eligible, *parts), n) if in_proportion else {ALL_TYPES: n}
        case All(in_proportion):
            return eligible if in_proportion else {ALL_TYPES: sum(eligible.values())}


def _sample_strata(spec: PlanSpec, strata: list[_Stratum], eligible: dict[str, int]) -> list[list[int]]:
    """Each stratum on its own gives every shard its quota of tasks."""
    if spec.strategy == "independent":
        picks: list[list[int]] = []
        for shard in map(str, range(spec.shards)):
            mine = _quotas_of(spec, eligible, shard)
            picks.append([task for s in strata for task in s.lowest(mine[s.name], spec.seed, shard)])
        return picks
    mine, hands = _quotas_of(spec, eligible), spec.hands(spec.shards)
    lowest = [task for stratum in strata for task in stratum.lowest(mine[stratum.name] * hands, spec.seed)]
    if spec.strategy == "paired":
        return [list(lowest) for _ in range(spec.shards)]
    dealt: Sequence[Sequence[int]] = deal(len(lowest), spec.shards)
    if spec.per_type and spec.amount.per_cell:
        dealt = deal_alike(len(strata), len(lowest) // len(strata), spec.shards)
    return [[lowest[card] for card in cards] for cards in dealt]


def _put_together(picks: list[list[int]], sizes: Sequence[int], ranked: Sequence[list[int]]) -> list[list[int]]:
    """Each shard's hands as one, in rank order. Raises OptionsError if one is empty."""
    place = {task: number for tasks in ranked for number, task in enumerate(tasks)}
    found = [
        sorted((task for hand in hands for task in picks[hand]), key=place.__getitem__) for hands in hands_of(sizes)
    ]
    if empty := sum(not shard for shard in found):
        tasks, told = sum(map(len, found)), ",".join(map(str, sizes))
        problem = f"{tasks} tasks shared out as {told} leave {empty} of {len(sizes)} shards empty"
        raise OptionsError([Mistake("‹shard_sizes›", problem, "ask for more tasks, or for sizes that differ less")])
    return found


def _deal_stratified(spec: PlanSpec, strata: list[_Stratum], eligible: dict[str, int]) -> list[list[int]]:
    """The cell's quotas are shared out over all shards, evenly in the total and in every type."""
    awards = list(_seats(spec, eligible))
    wanted = spec.tasks_of_cell(spec.shards)
    wanted = len(awards) if wanted is None else wanted
    if spec.num_instances_per_cell is not None:
        hands = deal_seats(awards, spec.shards, wanted)
    else:
        hands = hand_out(deal_types(awards, spec.shards), -(-wanted // spec.shards))
    mine = quotas(iter(awards), wanted)
    lowest = {stratum.name: stratum.lowest(mine[stratum.name], spec.seed) for stratum in strata}
    return [[lowest[name][card] for name, cards in hand.items() for card in cards] for hand in hands]
