"""The laws of planning, over libraries and specs that hypothesis draws (laws 2, 3 and 4 of the design)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prealloc.model.plan import PlanSpec
from prealloc.planning.colouring import NOBODY, colour_rounds
from prealloc.planning.order import interleave
from prealloc.planning.planner import choose_tasks
from prealloc.planning.quotas import awards, sainte_lague
from prealloc.planning.rank import choose, key, rank, stable_hash, stable_hashes

quick = settings(max_examples=120, deadline=None)

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
    """Law 4: shards differ by at most one task of each type."""
    type_of = case.library.type_of()
    counts = [Counter(type_of[task] for task in shard) for shard in case.plan()]
    for name in set(type_of.values()):
        assert max(c[name] for c in counts) - min(c[name] for c in counts) <= 1


@quick
@given(cases(asks=("stratify", "whole stratified")))
def test_quotas_of_the_cell_are_sainte_lagues(case: Case) -> None:
    """Law 4: quotas are shared out over the cell (disjoint) or over the one sample (paired, independent)."""
    spec, type_of = case.spec, case.library.type_of()
    there_are = Counter(name for name in type_of.values() if not spec.types or name in spec.types)
    plan = case.plan()
    samples = [[task for shard in plan for task in shard]] if spec.strategy == "disjoint" else plan
    for sample in samples:
        assert Counter(type_of[t] for t in sample) == Counter(sainte_lague(there_are, len(sample)))


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
    order = interleave(counts)
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
@given(cases(asks=("total", "stratify", "per_type", "quotas")), st.data())
def test_one_task_more_takes_one_pick_at_most(case: Case, data: st.DataObject) -> None:
    """Law 3: adding a task costs the cell's sample one pick per stratum at most, and one in all."""
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
        Case(library, PlanSpec(whole=True, seed=s, stratify=stratify)).plan() for s in (seed, seed ^ 1 << bit)
    )
    assert one != other


def test_independent_shards_differ() -> None:
    """With `independent`, shards draw from rankings of their own: no two of 20 take the same 10 of 100."""
    library = Library([f"t{i}" for i in range(100)], ["a", "b"] * 50)
    for stratify in (False, True):
        spec = PlanSpec(shards=20, num_instances=10, strategy="independent", stratify=stratify)
        assert len({frozenset(shard) for shard in Case(library, spec).plan()}) == 20


@quick
@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 30)),
    st.data(),
    st.integers(0, 80),
    st.booleans(),
)
def test_sainte_lague_is_the_highest_quotients(
    weights: dict[str, int], data: st.DataObject, seats: int, capped: bool
) -> None:
    """Each seat goes to the highest w / (2k + 1) among the types below their caps, equal ones by name."""
    caps = {name: data.draw(st.integers(0, 20)) for name in weights} if capped else None
    expected = dict.fromkeys(weights, 0)
    for _ in range(seats):
        free = [name for name in weights if weights[name] and (caps is None or expected[name] < caps[name])]
        if free:
            quotients = {name: Fraction(weights[name], 2 * expected[name] + 1) for name in free}
            expected[min(free, key=lambda name: (-quotients[name], name))] += 1
    assert sainte_lague(weights, seats, caps=caps) == expected


@quick
@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 30), min_size=1), st.integers(0, 100))
def test_sainte_lague_is_monotone_and_within_the_library(weights: dict[str, int], seats: int) -> None:
    """One seat more lowers no quota; quotas sum to the seats; no quota passes the number of tasks."""
    seats = min(seats, sum(weights.values()))
    shares = sainte_lague(weights, seats)
    more = sainte_lague(weights, seats + 1)
    assert sum(shares.values()) == seats
    assert all(shares[name] <= more[name] for name in weights)
    assert all(shares[name] <= weights[name] for name in weights)
    assert shares == sainte_lague(weights, seats, caps=weights)
    assert Counter(list(awards(weights, caps=weights))[:seats]) == Counter(shares)


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
        plan = Case(library, PlanSpec(shards=shards, num_instances=n, stratify=True)).plan()
        assert all(old <= set(new) and len(new) == n for old, new in zip(held, plan, strict=True))
        held = [set(shard) for shard in plan]
        counts = [Counter(type_of[t] for t in shard) for shard in plan]
        assert all(max(c[t] for c in counts) - min(c[t] for c in counts) <= 1 for t in set(types))
