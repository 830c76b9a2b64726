"""The laws of cells: the same tasks in every cell, however they are dealt."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.errors import OptionsError
from prealloc.files.paths import SHARD_ID
from prealloc.model.cell import cells_of
from prealloc.model.lane import Lane
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.cells import CellShard, cell_shard_ids, choose_for_cells, lay_out
from prealloc.planning.deal import deal_alike, deal_seats
from prealloc.planning.quotas import quotas, seats

quick = examples(100)

MODELS = ("a", "b", "c", "d")
TYPES = ("api", "basic", "multi")


class Case(NamedTuple):
    spec: PlanSpec
    ids: list[str]
    types: list[str]

    def shards(self) -> list[tuple[CellShard, list[str]]]:
        laid = lay_out(self.spec)
        chosen = choose_for_cells(self.spec, laid, self.ids, self.types)
        return [(shard, [self.ids[i] for i in places]) for shard, places in zip(laid, chosen, strict=True)]

    def cells(self) -> dict[bytes, list[list[str]]]:
        """The tasks of each cell's shards."""
        found: dict[bytes, list[list[str]]] = {}
        for shard, tasks in self.shards():
            found.setdefault(msgspec.json.encode(shard.cell), []).append(tasks)
        return found

    def samples(self) -> dict[bytes, set[str]]:
        return {cell: {task for shard in shards for task in shard} for cell, shards in self.cells().items()}

    def but(self, **changes: Any) -> Case:
        return self._replace(spec=msgspec.structs.replace(self.spec, **changes))


def lanes(draw: st.DrawFn) -> list[Lane]:
    """Some lanes, which together serve every model."""
    found = [Lane(name="all")] if draw(st.booleans()) else [Lane(name=f"of-{m}", models=(m,)) for m in MODELS]
    more = draw(st.lists(st.lists(st.sampled_from(MODELS), min_size=1, unique=True), max_size=5))
    return found + [Lane(name=f"lane-{n}", models=tuple(served)) for n, served in enumerate(more)]


def by_type(draw: st.DrawFn, counts: dict[str, int], ask: str, lanes: int) -> dict[str, Any]:
    """So many of each type of a cell, as far as there are."""
    if ask == "quotas":
        quotas = {name: draw(st.integers(0, count)) for name, count in counts.items()}
        return {"quotas": quotas if any(quotas.values()) else {min(counts): 1}}
    each = draw(st.integers(1, min(counts.values())))
    named = each * len(counts) < lanes or draw(st.booleans())  # unnamed, there is a shard for each lane
    return {"per_type": True, "num_instances": each, **({"types": sorted(counts)} if named else {})}


def asked_of_cell(told: dict[str, Any], types: set[str]) -> Counter[str]:
    """How many tasks of each type a cell must have where these options count them by type."""
    if told.get("quotas"):
        return +Counter(told["quotas"])
    return Counter(dict.fromkeys(types, told["num_instances"]))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    counts = draw(st.lists(st.integers(2, 15), min_size=1, max_size=3))
    types = [name for name, count in zip(TYPES, counts, strict=False) for _ in range(count)]
    ids = [f"t{draw(st.integers(0, 10**6)) * 100 + n}" for n in range(len(types))]
    factors: dict[str, Any] = {"model": draw(st.lists(st.sampled_from(MODELS), min_size=1, unique=True))}
    for name, values in {"prompt_type": ["p", "q"], "difficulty": ["easy", "hard"], "rate": [0.5, 1, True]}.items():
        if draw(st.booleans()):
            factors[name] = draw(st.lists(st.sampled_from(values), min_size=1, unique_by=repr))
    told: dict[str, Any] = {"factors": factors, "seed": draw(st.integers(0, 99)), "stratify": draw(st.booleans())}
    if draw(st.booleans()):
        told["lanes"] = lanes(draw)
    ask = draw(st.sampled_from(["cell", "shard", "whole", "per type", "quotas"]))
    told["shards"] = draw(st.integers(1, min(3, len(ids))))
    if ask in ("per type", "quotas"):
        told |= by_type(draw, dict(Counter(types)), ask, len(told.get("lanes", ())))
        total = sum(asked_of_cell(told, set(types)).values())
        told |= {"stratify": False, "per_cell": True, "shards": min(told["shards"], total)}
    elif ask == "cell":
        told["num_instances_per_cell"] = draw(st.integers(told["shards"], len(ids)))
    elif ask == "shard":
        told["num_instances"] = draw(st.integers(1, len(ids) // told["shards"]))
    else:
        told["whole"] = True
    order = list(range(len(ids)))
    random.Random(draw(st.integers(0, 99))).shuffle(order)
    return Case(PlanSpec.checked(**told), [ids[i] for i in order], [types[i] for i in order])


@quick
@given(cases())
def test_every_cell_has_the_same_tasks(case: Case) -> None:
    """Pairing: the same ids for every model, prompt, difficulty and rate, whatever serves the model."""
    assert len(set(map(frozenset, case.samples().values()))) == 1
    assert len(case.samples()) == len(cells_of(case.spec.factors))


@quick
@given(cases(), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_shards_of_unequal_size_share_the_same_tasks(case: Case, sizes: list[int]) -> None:
    """A cell has the tasks that it has with equal shards, each once, in the order of their ranks inside a type.

    Each shard has its share of them, to within one where types do not count; no shard is left empty.
    """
    if not (case.spec.whole or case.spec.amount.per_cell):
        return
    uneven = case.but(shard_sizes=tuple(sizes), shards=len(sizes))
    ranked = case.but(shards=1, lanes=()).shards()[0][1]
    found: list[tuple[CellShard, list[str]]] = []
    with contextlib.suppress(OptionsError):
        found = uneven.shards()
    if not found:
        assert len(ranked) < sum(sizes)
        return
    type_of = dict(zip(case.ids, case.types, strict=True))
    assert uneven.samples() == case.samples()
    for shards in uneven.cells().values():
        assert sorted(task for tasks in shards for task in tasks) == sorted(ranked)
    for shard, tasks in found:
        share, of = len(ranked) * sizes[shard.number], sum(sizes)
        assert tasks
        assert abs(len(tasks) * of - share) <= of * sizes[shard.number]
        if not (case.spec.stratify or case.spec.amount.by_type):
            assert abs(len(tasks) * of - share) < of
            assert len(tasks) == shard.share(len(ranked))
        for name in TYPES:
            mine = [task for task in tasks if type_of[task] == name]
            assert mine == [task for task in ranked if task in mine]


STAR = {"model": list(MODELS), "rate": [0.5, 1, True], "prompt_type": ["p", "q"]}


@quick
@given(st.data())
def test_the_cells_of_designs_are_the_union_of_theirs(data: st.DataObject) -> None:
    """Each cell once, where the first design has it, whatever the order in which a design names the factors.

    What the factors are said to be is what the cells have.
    """
    designs = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    name: st.lists(st.sampled_from(values), min_size=1, unique_by=repr)
                    for name, values in data.draw(st.permutations(list(STAR.items())))
                }
            ),
            min_size=1,
            max_size=5,
        )
    )
    spec = PlanSpec.checked(factors=designs)
    found = [texts(cell) for cell in cells_of(spec.factors)]
    one_by_one = [texts(cell) for design in designs for cell in cells_of(design)]
    assert found == list(dict.fromkeys(one_by_one))
    assert all(list(cell) == list(designs[0]) for cell in cells_of(spec.factors))
    for name, values in spec.factor_values.items():
        assert Counter(map(repr, values)) == Counter({repr(cell[name]) for cell in cells_of(spec.factors)})
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec
    assert PlanSpec.checked(**msgspec.structs.asdict(spec)) == spec
    assert (PlanSpec.checked(factors=designs[:1])) == PlanSpec.checked(factors=designs[0])


@quick
@given(st.data())
def test_a_star_is_the_product_without_what_differs_twice(data: st.DataObject) -> None:
    """Around a cell, a design for each factor that changes it alone: the cells that differ in one value at most."""
    centre = {name: data.draw(st.sampled_from(values)) for name, values in STAR.items()}
    star = [{other: STAR[other] if other == name else [centre[other]] for other in STAR} for name in STAR]
    near = [
        texts(cell)
        for cell in cells_of(STAR)
        if sum(repr(value) != repr(centre[name]) for name, value in cell.items()) <= 1
    ]
    cells = [texts(cell) for cell in cells_of(star)]
    assert sorted(cells) == sorted(near)
    spec = PlanSpec.checked(factors=star, num_instances=2)
    assert len({shard.id for shard in lay_out(spec)}) == len(near)


def texts(cell: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """By value as JSON, in which 1 is not true."""
    return tuple(sorted((name, repr(value)) for name, value in cell.items()))


@quick
@given(cases())
def test_a_cells_tasks_are_each_in_one_of_its_shards(case: Case) -> None:
    """Dealt and not copied: no task twice in a cell, no shard empty, sizes and types even within one task."""
    type_of = dict(zip(case.ids, case.types, strict=True))
    wanted = case.spec.num_instances_per_cell
    for shards in case.cells().values():
        tasks = [task for shard in shards for task in shard]
        assert len(set(tasks)) == len(tasks)
        assert wanted is None or len(tasks) == wanted
        sizes = [len(shard) for shard in shards]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= 1
        if case.spec.stratify:
            counts = [Counter(type_of[task] for task in shard) for shard in shards]
            assert all(max(c[t] for c in counts) - min(c[t] for c in counts) <= 1 for t in TYPES)
            asked = quotas(seats(Counter(case.types), case.spec.seed), len(tasks))
            assert Counter(type_of[task] for task in tasks) == asked
        if case.spec.per_cell is True:
            counts = [Counter(type_of[task] for task in shard) for shard in shards]
            assert all(max(c[t] for c in counts) - min(c[t] for c in counts) <= 1 for t in TYPES)
            asked = asked_of_cell(msgspec.structs.asdict(case.spec), set(case.types))
            assert Counter(type_of[task] for task in tasks) == asked


@quick
@given(cases(), st.data())
def test_a_larger_cell_keeps_what_it_had(case: Case, data: st.DataObject) -> None:
    """More of a cell, or of each type of a cell, adds tasks to every cell, and takes none out of a shard."""
    spec, each = case.spec, len(set(case.types)) if case.spec.per_type else 1
    name = "num_instances" if spec.per_type else "num_instances_per_cell"
    most = getattr(spec, name)
    if not spec.amount.per_cell or most is None:
        return
    lanes = 0 if spec.amount.total is None else len(spec.lanes)
    few = data.draw(st.integers(min(most, -(-max(spec.shards, len(spec.lanes) - lanes) // each)), most))
    less = case.but(**{name: few})
    for cell, sample in less.samples().items():
        assert sample <= case.samples()[cell]
    if few * each >= lanes:  # as many shards as before
        for (one, fewer), (other, more) in zip(less.shards(), case.shards(), strict=True):
            assert one.id == other.id
            assert set(fewer) <= set(more)


@quick
@given(cases(), st.integers(0, 2**32))
def test_the_order_of_the_library_does_not_matter(case: Case, seed: int) -> None:
    """Law 2 for cells: the same ids in another order are the same shards, task for task."""
    order = list(range(len(case.ids)))
    random.Random(seed).shuffle(order)
    other = case._replace(ids=[case.ids[i] for i in order], types=[case.types[i] for i in order])
    assert other.shards() == case.shards()


@quick
@given(cases(), st.sampled_from(MODELS))
def test_a_further_lane_moves_tasks_and_changes_no_sample(case: Case, model: str) -> None:
    """Lanes decide how a sample is dealt, never what is in it."""
    if not case.spec.lanes:
        return
    if case.spec.per_type and not case.spec.types:  # one lane more must leave no shard empty
        case = case.but(types=tuple(sorted(set(case.types))))
    more = case.but(lanes=(*case.spec.lanes, Lane(name="further", models=(model,))))
    assert more.samples() == case.samples()


@quick
@given(cases(), st.data())
def test_excludes_only_remove_cells(case: Case, data: st.DataObject) -> None:
    """What is left after an exclude is what was there before, in the same order, with the same tasks."""
    name = data.draw(st.sampled_from(sorted(case.spec.factors)))
    part = {name: data.draw(st.sampled_from(case.spec.factors[name]))}
    left = case.but(exclude=(part,)).samples()
    everything = case.samples()
    text = msgspec.json.encode(part)[1:-1]
    assert list(left.items()) == [(cell, sample) for cell, sample in everything.items() if text not in cell]


@quick
@given(cases())
def test_shards_stand_on_lanes_that_serve_them_evenly(case: Case) -> None:
    """A cell's shards are spread over the lanes of its model: none has two more than another."""
    used: dict[bytes, list[Lane | None]] = {}
    for shard, _ in case.shards():
        used.setdefault(msgspec.json.encode(shard.cell), []).append(shard.lane)
        assert (shard.lane is None) == (not case.spec.lanes)
        assert shard.lane is None or shard.lane.serves(shard.cell["model"])
    if not case.spec.amount.per_cell:
        return
    for cell, taken in used.items():
        model = msgspec.json.decode(cell)["model"]
        counts = [taken.count(lane) for lane in case.spec.lanes if lane.serves(model)]
        assert not counts or max(counts) - min(counts) <= 1


values = st.one_of(st.text(max_size=40), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@quick
@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), values, min_size=1, max_size=6), max_size=12))
def test_shard_ids_are_file_names_and_unique(cells: list[dict[str, Any]]) -> None:
    """[a-z0-9._-], at most 100 bytes, none twice, none hidden or taken for an option, whatever the values are."""
    ids = cell_shard_ids(cells)
    assert len(set(ids)) == len(ids) == len(cells)
    assert all(SHARD_ID.fullmatch(id) and id[0] not in ".-_" for id in ids)


@quick
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 6), st.data())
def test_a_deal_of_seats_is_even_exact_and_grows(counts: list[int], shards: int, data: st.DataObject) -> None:
    """For any number of seats: the quotas are exact, shards are even in every type, one seat more moves no task."""
    weights = {f"t{n}": count for n, count in enumerate(counts)}
    total = sum(counts)
    wanted = data.draw(st.integers(0, total))
    awards = list(seats(weights, data.draw(st.integers(0, 99))))
    hands = deal_seats(awards, shards, wanted)
    sizes = [sum(map(len, hand.values())) for hand in hands]
    assert max(sizes) - min(sizes) <= 1
    shares = quotas(iter(awards), wanted)
    for name in weights:
        dealt = [len(hand.get(name, ())) for hand in hands]
        assert max(dealt) - min(dealt) <= 1
        assert sorted(place for hand in hands for place in hand.get(name, ())) == list(range(shares[name]))
    if wanted < total:
        for few, many in zip(hands, deal_seats(awards, shards, wanted + 1), strict=True):
            assert all(many[name][: len(places)] == places for name, places in few.items())


@quick
@given(st.integers(1, 12), st.integers(0, 30), st.integers(1, 12))
def test_a_deal_of_types_that_are_alike_is_even_and_grows(types: int, each: int, shards: int) -> None:
    """Every card once, shards even in all and in every type, and a card more of each type moves none."""
    hands, more = deal_alike(types, each, shards), deal_alike(types, each + 1, shards)
    assert sorted(card for hand in hands for card in hand) == list(range(types * each))
    sizes = [len(hand) for hand in hands]
    assert max(sizes) - min(sizes) <= 1
    for t in range(types):
        dealt = [sum(card // each == t for card in hand) for hand in hands]
        assert max(dealt) - min(dealt) <= 1
    for few, many in zip(hands, more, strict=True):
        assert {divmod(card, each) for card in few} <= {divmod(card, each + 1) for card in many}
