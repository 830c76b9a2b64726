"""The laws of planning, over libraries and specs that hypothesis draws (laws 2, 3 and 4 of the design)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from math import gcd
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.colouring import NOBODY, colour_rounds
from prealloc.planning.order import schedule
from prealloc.planning.planner import choose_tasks
from prealloc.planning.quotas import quotas, sainte_lague, seats
from prealloc.planning.rank import choose, key, rank, stable_hash, stable_hashes

quick = examples(120)

TYPES = ("api", "basic", "data pipeline", "multi", "é")
COUNTED = ("total", "stratify", "per_type", "quotas")
EVERY_ASK = (*COUNTED, "whole", "whole stratified")
EVERY_STRATEGY = ("disjoint", "paired", "independent")


class Library(NamedTuple):
    ids: list[str]
    types: list[str]

    def type_of(self) -> dict[str, str]:
        return dict(zip(self.ids, self.types, strict=True))

    def shuffled(self, seed: int) -> Library:
        order = list(range(len(self.ids)))
        random.Random(seed).shuffle(order)
        return Library([self.ids[i] for i in order], [self.types[i] for i in order])


class Case(NamedTuple):
    library: Library
    spec: PlanSpec

    def plan(self) -> list[list[str]]:
        return [[self.library.ids[i] for i in shard] for shard in choose_tasks(self.spec, *self.library)]


@st.composite
def libraries(draw: st.DrawFn) -> Library:
    counts = draw(st.dictionaries(st.sampled_from(TYPES), st.integers(1, 20), min_size=1))
    salt = draw(st.integers(0, 10**6))
    types = [name for name, count in counts.items() for _ in range(count)]
    ids = [f"task-{salt + 7919 * i}" for i in range(len(types))]
    return Library(ids, types).shuffled(salt)


@st.composite
def cases(draw: st.DrawFn, asks: tuple[str, ...] = EVERY_ASK, strategies: tuple[str, ...] = EVERY_STRATEGY) -> Case:
    """A library, and a spec that it can serve."""
    library = draw(libraries())
    ask = draw(st.sampled_from(asks))
    # --all with independent shards is refused: every shard would hold every task.
    strategy = draw(st.sampled_from([s for s in strategies if s != "independent" or "whole" not in ask]))
    there_are = Counter(library.types)
    types: tuple[str, ...] = ()
    if ask != "quotas" and draw(st.booleans()):
        types = tuple(draw(st.sets(st.sampled_from(sorted(there_are)), min_size=1)))
        there_are = Counter({name: there_are[name] for name in types})
    smallest = min(there_are.values())
    most = {"per_type": smallest, "quotas": smallest}.get(ask, there_are.total())
    shards = draw(st.integers(1, min(most, 7)))
    hands = shards if strategy == "disjoint" else 1
    told: dict[str, Any] = {"shards": shards, "strategy": strategy, "types": types}
    told["seed"] = draw(st.integers(0, 2**63 - 1))
    told["ranking"] = draw(st.sampled_from([1, 2]))
    if ask == "quotas":
        named = draw(st.sets(st.sampled_from(sorted(there_are)), min_size=1))
        quotas = {name: draw(st.integers(0, there_are[name] // hands)) for name in sorted(named)}
        quotas[min(named)] = max(1, quotas[min(named)])
        told["quotas"] = quotas
    elif "whole" in ask:
        told |= {"whole": True, "stratify": "stratified" in ask}
    else:
        told["num_instances"] = draw(st.integers(1, most // hands))
        told |= {"stratify": ask == "stratify", "per_type": ask == "per_type"}
    return Case(library, PlanSpec.checked(**told))


def smaller(draw: Callable[..., Any], spec: PlanSpec) -> PlanSpec:
    """The same spec, asking for less."""
    if spec.quotas:
        quotas = {name: draw(st.integers(0, quota)) for name, quota in spec.quotas.items()}
        quotas[max(spec.quotas, key=lambda name: spec.quotas[name])] = max(spec.quotas.values())
        return msgspec.structs.replace(spec, quotas=quotas)
    return msgspec.structs.replace(spec, num_instances=draw(st.integers(1, spec.num_instances)))


def by_type_strata(spec: PlanSpec) -> bool:
    return spec.stratify or spec.per_type or bool(spec.quotas)


def ranks_of(case: Case, shard: int) -> dict[str, tuple[int, str]]:
    """Every task's rank, straight from the formula of law 3; ties by id."""
    spec = case.spec
    found = {}
    for task, name in case.library.type_of().items():
        stratum = name if by_type_strata(spec) else ""
        parts = (stratum, str(shard)) if spec.strategy == "independent" else (stratum,)
        found[task] = rank(key(spec.seed, *parts), stable_hash(task)), task
    return found


@quick
@given(cases(strategies=("disjoint",)))
def test_disjoint_shards_share_no_task(case: Case) -> None:
    """Law 4: with `disjoint`, no task is in two shards or twice in one."""
    dealt = [task for shard in case.plan() for task in shard]
    assert len(set(dealt)) == len(dealt)


@quick
@given(cases(asks=("whole", "whole stratified")))
def test_all_covers_every_eligible_task(case: Case) -> None:
    """`--all` deals every eligible task: to one shard each when disjoint, to every shard when paired."""
    eligible = {task for task, name in case.library.type_of().items() if not case.spec.types or name in case.spec.types}
    plan = case.plan()
    assert {task for shard in plan for task in shard} == eligible
    if case.spec.strategy == "paired":
        assert all(set(shard) == eligible for shard in plan)


@quick
@given(cases())
def test_shards_have_what_was_asked(case: Case) -> None:
    """Totals are exact, of each type too where the spec says so; with `--all` they differ by at most one."""
    spec, type_of = case.spec, case.library.type_of()
    for shard in case.plan():
        types = Counter(type_of[task] for task in shard)
        if spec.quotas:
            assert types == Counter(spec.quotas)
        elif spec.per_type:
            there_are = {name for name in type_of.values() if not spec.types or name in spec.types}
            assert types == Counter(dict.fromkeys(there_are, spec.num_instances))
        elif not spec.whole:
            assert len(shard) == spec.num_instances
    sizes = [len(shard) for shard in case.plan()]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) > 0


@quick
@given(cases(asks=("stratify", "per_type", "quotas", "whole stratified")))
def test_shards_are_even_in_every_type(case: Case) -> None:
    """Law 4: shards differ by at most one task of each type; independent ones, each with seats of its own, by three.

    Each of those is less than two off its share.
    """
    type_of = case.library.type_of()
    counts = [Counter(type_of[task] for task in shard) for shard in case.plan()]
    own_seats = case.spec.strategy == "independent" and case.spec.stratify and case.spec.ranking == 2
    for name in set(type_of.values()):
        assert max(c[name] for c in counts) - min(c[name] for c in counts) <= (3 if own_seats else 1)


@quick
@given(cases(asks=("stratify", "whole stratified")))
def test_quotas_of_the_cell_are_its_first_seats(case: Case) -> None:
    """Law 4: seats are given to the cell (disjoint), to the one sample (paired), or to each shard (independent)."""
    spec, type_of = case.spec, case.library.type_of()
    there_are = Counter(name for name in type_of.values() if not spec.types or name in spec.types)
    plan = case.plan()
    samples = [[task for shard in plan for task in shard]] if spec.strategy == "disjoint" else plan
    for number, sample in enumerate(samples):
        parts = [str(number)] if spec.strategy == "independent" else []
        given = seats(there_are, spec.seed, *parts) if spec.ranking == 2 else sainte_lague(there_are)
        assert Counter(type_of[t] for t in sample) == quotas(given, len(sample))


@quick
@given(cases(), st.integers(0, 2**32))
def test_library_order_does_not_matter(case: Case, seed: int) -> None:
    """Law 2: the same library in another order gives the same tasks in the same order."""
    assert Case(case.library.shuffled(seed), case.spec).plan() == case.plan()


@quick
@given(cases(asks=COUNTED), st.data())
def test_growing_n_keeps_every_shards_first_picks(case: Case, data: st.DataObject) -> None:
    """Law 3: with the number of shards fixed, a larger n only adds to each shard."""
    less = Case(case.library, smaller(data.draw, case.spec))
    for few, many in zip(less.plan(), case.plan(), strict=True):
        assert set(few) <= set(many)


@quick
@given(cases(asks=("stratify", "total"), strategies=("disjoint",)))
def test_all_keeps_what_any_n_gave(case: Case) -> None:
    """Law 3 to its end: `--all` keeps every shard's picks of any n."""
    whole = msgspec.structs.replace(case.spec, whole=True, num_instances=None)
    for few, many in zip(case.plan(), Case(case.library, whole).plan(), strict=True):
        assert set(few) <= set(many)


@quick
@given(cases(asks=("total",), strategies=("disjoint",)))
def test_disjoint_deals_the_ranking_like_cards(case: Case) -> None:
    """Law 4: shard i of S takes the ranks i, i+S, i+2S, ...; so a smaller n is a prefix, in rank order."""
    spec, type_of = case.spec, case.library.type_of()
    ranks = ranks_of(case, 0)
    ranking = sorted((t for t in ranks if not spec.types or type_of[t] in spec.types), key=ranks.__getitem__)
    for number, shard in enumerate(case.plan()):
        assert sorted(shard, key=ranks.__getitem__) == ranking[number :: spec.shards][: spec.num_instances]


@quick
@given(cases())
def test_samples_are_the_lowest_ranks(case: Case) -> None:
    """Law 3: of each stratum, no task outside the cell's sample ranks below one inside it."""
    spec, type_of = case.spec, case.library.type_of()
    plan = case.plan()
    samples = [{t for shard in plan for t in shard}] if spec.strategy == "disjoint" else map(set, plan)
    for number, sample in enumerate(samples):
        ranks = ranks_of(case, number)
        for stratum in set(type_of.values()) if by_type_strata(spec) else {""}:
            inside = [ranks[t] for t in sample if stratum in ("", type_of[t])]
            outside = [
                ranks[t]
                for t in set(ranks) - sample
                if stratum in ("", type_of[t]) and (not spec.types or type_of[t] in spec.types)
            ]
            assert not inside or not outside or max(inside) < min(outside)


@quick
@given(cases())
def test_inside_a_type_a_shard_is_in_rank_order(case: Case) -> None:
    """Law 4: rank order inside a type."""
    type_of = case.library.type_of()
    for number, shard in enumerate(case.plan()):
        ranks = ranks_of(case, number)
        for name in set(type_of.values()):
            mine = [ranks[task] for task in shard if type_of[task] == name]
            assert mine == sorted(mine)


@quick
@given(cases())
def test_every_prefix_of_a_shard_is_in_proportion(case: Case) -> None:
    """Law 4: in every prefix of m of a shard's n tasks, each type is less than one task off m * c_t / n."""
    type_of = case.library.type_of()
    for shard in case.plan():
        check_proportion([type_of[task] for task in shard])


@quick
@given(st.lists(st.integers(0, 40), max_size=9))
def test_interleaving_is_in_proportion(counts: list[int]) -> None:
    """The same for the interleaving alone, with more types: it places every task, each within its window."""
    order = list(islice(schedule(counts), sum(counts)))
    assert Counter(order) == Counter({t: c for t, c in enumerate(counts) if c})
    check_proportion(order)


def check_proportion(types: list[Any]) -> None:
    n, counts = len(types), Counter(types)
    so_far: Counter[Any] = Counter()
    for m, name in enumerate(types, 1):
        so_far[name] += 1
        for each, count in counts.items():
            assert abs(so_far[each] * n - m * count) < n


@quick
@given(cases(asks=("total", "per_type", "quotas")), st.data())
def test_one_task_more_takes_one_pick_at_most(case: Case, data: st.DataObject) -> None:
    """Law 3: adding a task costs the cell's sample one pick per stratum at most, and one in all.

    With stratify it can also move seats between types: see test_one_task_more_moves_few_seats.
    """
    spec, library = case.spec, case.library
    new_types = sorted(set(library.types)) if spec.per_type or spec.quotas else [*TYPES, "a new type"]
    added = Library([*library.ids, "added"], [*library.types, data.draw(st.sampled_from(new_types))])
    before, after = case.plan(), Case(added, spec).plan()
    if spec.strategy == "independent":  # the shard is part of the stratum
        pairs = list(zip(map(set, before), map(set, after), strict=True))
    else:
        pairs = [({t for s in before for t in s}, {t for s in after for t in s})]
    for old, new in pairs:
        assert len(old - new) <= 1
        assert len(new) == len(old)


@quick
@given(libraries(), st.integers(0, 2**63 - 1), st.integers(0, 2**32))
def test_one_task_more_changes_no_other_rank(library: Library, seed: int, place: int) -> None:
    """Law 3: adding a task anywhere leaves the others in the same order, with the same ranks."""
    k = key(seed, "")
    more = list(library.ids)
    more.insert(place % (len(more) + 1), "added")
    before = [library.ids[i] for i in choose(stable_hashes(library.ids), library.ids, k, len(more))]
    after = [more[i] for i in choose(stable_hashes(more), more, k, len(more))]
    assert [task for task in after if task != "added"] == before


@quick
@given(cases(), st.text(max_size=20))
def test_every_difficulty_has_the_same_picks(case: Case, text: str) -> None:
    """Law 3: versions of a library that differ in all but ids and types get the same plan."""

    def version(difficulty: str, seed: int) -> list[dict[str, str]]:
        ids, types = case.library.shuffled(seed)
        return [{"id": i, "type": t, "text": f"{difficulty} {text}"} for i, t in zip(ids, types, strict=True)]

    plans = []
    for tasks in (version("easy", 1), version("hard", 2)):
        library = Library([task["id"] for task in tasks], [task["type"] for task in tasks])
        plans.append(Case(library, case.spec).plan())
    assert plans[0] == plans[1]


@quick
@given(cases(strategies=("paired",)))
def test_paired_shards_are_equal(case: Case) -> None:
    """Law 4: with `paired`, every shard has the same tasks in the same order, whatever their number."""
    plan = case.plan()
    assert all(shard == plan[0] for shard in plan)
    alone = msgspec.structs.replace(case.spec, shards=1)
    assert Case(case.library, alone).plan() == plan[:1]


@quick
@given(cases(asks=COUNTED, strategies=("independent",)), st.integers(1, 9))
def test_independent_shards_do_not_know_of_each_other(case: Case, shards: int) -> None:
    """Law 4: with `independent`, a shard's sample is the same however many shards there are."""
    other = msgspec.structs.replace(case.spec, shards=shards)
    for mine, theirs in zip(case.plan(), Case(case.library, other).plan(), strict=False):
        assert mine == theirs


@quick
@given(st.integers(0, 2**63 - 1), st.integers(0, 62), st.booleans())
def test_another_seed_is_another_plan(seed: int, bit: int, stratify: bool) -> None:
    """Every bit of a seed counts, up to 2**63 - 1: flip one, and 60 tasks stand in another order."""
    library = Library([f"t{i}" for i in range(60)], ["a", "b", "c"] * 20)
    one, other = (
        Case(library, PlanSpec.checked(whole=True, seed=s, stratify=stratify)).plan() for s in (seed, seed ^ 1 << bit)
    )
    assert one != other


def test_independent_shards_differ() -> None:
    """With `independent`, shards draw from rankings of their own: no two of 20 take the same 10 of 100."""
    library = Library([f"t{i}" for i in range(100)], ["a", "b"] * 50)
    for stratify in (False, True):
        spec = PlanSpec.checked(shards=20, num_instances=10, strategy="independent", stratify=stratify)
        assert len({frozenset(shard) for shard in Case(library, spec).plan()}) == 20


@quick
@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 30)), st.integers(0, 80))
def test_sainte_lague_is_the_highest_quotients(counts: dict[str, int], n: int) -> None:
    """Each seat goes to the highest c / (2k + 1), equal ones by name; no type gets more than it has."""
    n = min(n, sum(counts.values()))
    expected = dict.fromkeys(counts, 0)
    for _ in range(n):
        highest = {name: Fraction(count, 2 * expected[name] + 1) for name, count in counts.items() if count}
        expected[min(highest, key=lambda name: (-highest[name], name))] += 1
    assert quotas(sainte_lague(counts), n) == Counter(expected)
    assert quotas(sainte_lague(counts), sum(counts.values())) == Counter(counts)


unequal = st.lists(st.one_of(st.integers(1, 4), st.integers(1, 400)), min_size=1, max_size=60).map(
    lambda counts: {f"type {number}": count for number, count in enumerate(counts)}
)
"""Libraries of few and many types, of very unequal sizes."""


@quick
@given(unequal, st.integers(0, 2**63 - 1), st.data())
def test_seats_are_less_than_two_off_their_share(counts: dict[str, int], seed: int, data: st.DataObject) -> None:
    """Law 4: for any seed and n, each type is less than 2 seats off n * c / N, and has no more than its tasks.

    Where n * c / N is whole for every type, the seats are exactly these numbers.
    """
    total, common = sum(counts.values()), gcd(*counts.values())
    given = list(seats(counts, seed))
    assert Counter(given) == Counter(counts)  # so no number of seats passes the tasks of a type
    for n in (data.draw(st.integers(0, total)), data.draw(st.integers(0, common)) * total // common):
        had = Counter(given[:n])
        off = max(abs(had[name] * total - n * count) for name, count in counts.items())
        assert off == 0 if n * common % total == 0 else off < 2 * total


@quick
@given(unequal, st.integers(0, 2**63 - 1), st.data())
def test_over_all_entries_the_mean_is_exactly_the_share(counts: dict[str, int], seed: int, data: st.DataObject) -> None:
    """Law 4: a type's seats, added up over all places of entry, are N times its share: n * c, to the last seat."""
    total = sum(counts.values())
    n = data.draw(st.integers(1, total))
    given = list(seats(counts, seed)) * 2
    window, seen = Counter(given[:n]), Counter(given[:n])
    for entry in range(1, total):
        window[given[entry - 1]] -= 1
        window[given[entry + n - 1]] += 1
        seen.update(window)
    assert seen == Counter({name: n * count for name, count in counts.items()})


LIBRARIES = {
    "one of half the library beside 50 small ones": {"big": 500, **{f"small{t:02}": 10 for t in range(50)}},
    "50 equal types": {f"type{t:02}": 10 for t in range(50)},
    "twelve repositories": dict(zip("abcdefghijkl", (231, 75, 44, 34, 32, 22, 22, 19, 10, 8, 2, 1), strict=True)),
    "five types": {"pipeline": 190, "api": 170, "basic": 150, "multi": 80, "simple": 40},
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_over_500_seeds_each_type_has_its_share(name: str) -> None:
    """Law 4 as a user meets it: the mean over seeds is the share, within 4.5 standard errors; never 2 off."""
    counts, n, seeds = LIBRARIES[name], 10, 500
    total = sum(counts.values())
    drawn: Counter[str] = Counter()
    for seed in range(seeds):
        had = quotas(seats(counts, seed), n)
        assert all(abs(had[kind] * total - n * count) < 2 * total for kind, count in counts.items())
        drawn.update(had)
    for kind, count in counts.items():
        share = n * count / total
        assert abs(drawn[kind] / seeds - share) <= 4.5 * (min(share, 1) / seeds) ** 0.5, kind


@pytest.mark.parametrize(
    ("name", "n", "least"),
    [
        ("one of half the library beside 50 small ones", 20, 9),
        ("50 equal types", 10, 10),
        ("twelve repositories", 10, 4),
    ],
)
def test_seats_reach_small_types(name: str, n: int, least: int) -> None:
    """Half of the seats to half the library, no type twice where all are equal, and each is drawn by some seed."""
    counts = LIBRARIES[name]
    samples = [quotas(seats(counts, seed), n) for seed in range(40)]
    assert all(len(had) >= least for had in samples)
    assert {kind for had in samples for kind in had} == set(counts) or name == "twelve repositories"
    assert all(9 <= had["big"] <= 11 for had in samples) or "big" not in counts


@quick
@given(unequal, st.integers(0, 2**63 - 1), st.data())
def test_one_task_more_moves_few_seats(counts: dict[str, int], seed: int, data: st.DataObject) -> None:
    """Law 3: a task more in the library moves a type's seats by less than 5; libraries that differ by it stay alike."""
    grown = dict(counts)
    kind = data.draw(st.sampled_from([*counts, "a new type"]))
    grown[kind] = grown.get(kind, 0) + 1
    n = data.draw(st.integers(1, sum(counts.values())))
    before, after = quotas(seats(counts, seed), n), quotas(seats(grown, seed), n)
    assert all(abs(before[kind] - after[kind]) < 5 for kind in grown)


@quick
@given(st.integers(1, 9), st.lists(st.integers(0, 30), max_size=120))
def test_a_colour_is_once_at_every_round_and_block(colours: int, wishes: list[int]) -> None:
    """König: S colours suffice for a bipartite graph of degree S. Every edge has one; none meets its like."""
    left: Counter[int] = Counter()
    numbers: dict[int, int] = {}
    blocks = []
    for wish in wishes:
        if left[wish] < colours:
            left[wish] += 1
            blocks.append(numbers.setdefault(wish, len(numbers)))
    dealt = colour_rounds(blocks, colours)
    for r in range(0, len(blocks), colours):
        edges = [b for b in dealt[r : r + colours] if b != NOBODY]
        assert Counter(edges) == Counter(blocks[r : r + colours])
    for colour in range(colours):
        mine = [b for b in dealt[colour::colours] if b != NOBODY]
        assert len(set(mine)) == len(mine)


@pytest.mark.parametrize("shards", [2, 3, 10])
def test_many_rounds_stay_even_after_each_of_them(shards: int) -> None:
    """Law 4 after every n of a long deal, where paths are long: 12 types, 1,500 tasks."""
    drawn = random.Random(shards)
    types = [f"type{t:02}" for t in range(12) for _ in range(drawn.randint(1, 250))][:1500]
    library = Library([f"t{i}" for i in range(len(types))], types)
    type_of = library.type_of()
    held: list[set[str]] = [set() for _ in range(shards)]
    for n in [*range(1, 40), *range(40, len(types) // shards, 53)]:
        plan = Case(library, PlanSpec.checked(shards=shards, num_instances=n, stratify=True)).plan()
        assert all(old <= set(new) and len(new) == n for old, new in zip(held, plan, strict=True))
        held = [set(shard) for shard in plan]
        counts = [Counter(type_of[t] for t in shard) for shard in plan]
        assert all(max(c[t] for c in counts) - min(c[t] for c in counts) <= 1 for t in set(types))
