"""Planning by hand: small numbers that can be worked out on paper, the pinned scheme, and the refusals."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import prealloc.planning
from prealloc.errors import Mistake, OptionsError
from prealloc.model.plan_spec import RANKINGS, PlanSpec
from prealloc.planning import rank
from prealloc.planning.colouring import colour_rounds
from prealloc.planning.deal import deal, deal_types, hand_out
from prealloc.planning.order import in_proportion, schedule
from prealloc.planning.planner import choose_tasks, shard_ids
from prealloc.planning.quotas import quotas, sainte_lague, seats

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ranking.json").read_text("utf-8"))
SMALL = {"A": 4, "B": 2, "C": 1, "D": 1}


# rank


def test_the_pinned_scheme_is_the_one_that_plans_name() -> None:
    """Whoever changes a bit of the ranking gives it another name and pins a file of its own. 2 changed types alone."""
    assert GOLDEN["rankings"] == [RANKINGS[1], RANKINGS[2]] == ["blake2b64-splitmix64/1", "blake2b64-splitmix64/2"]
    assert (PlanSpec(ranking=2).ranking_name, PlanSpec().ranking_name) == (RANKINGS[2], RANKINGS[1])


@pytest.mark.parametrize(("text", "expected"), GOLDEN["hashes"].items())
def test_pinned_hashes(text: str, expected: str) -> None:
    """A task's hash never changes. `printf %s TEXT | b2sum -l 64` says the same."""
    assert rank.stable_hash(text) == int(expected, 16)


@pytest.mark.parametrize(("parts", "expected"), GOLDEN["keys"])
def test_pinned_keys(parts: list[Any], expected: str) -> None:
    """A key never changes: the hash of the compact JSON array, as `printf '[7,"basic"]' | b2sum -l 64`."""
    assert rank.key(*parts) == int(expected, 16)


@pytest.mark.parametrize(("key", "task_hash", "expected"), GOLDEN["ranks"])
def test_pinned_ranks(key: str, task_hash: str, expected: str) -> None:
    """A rank never changes. From 9e3779b97f4a7c15 comes the first output of splitmix64 for the seed 0."""
    assert rank.rank(int(key, 16), int(task_hash, 16)) == int(expected, 16)
    assert rank.ranks(int(key, 16), [int(task_hash, 16)]) == [int(expected, 16)]


@pytest.mark.parametrize("pinned", GOLDEN["plans"], ids=lambda pinned: json.dumps(pinned["spec"]))
def test_pinned_plans(pinned: dict[str, Any]) -> None:
    """The same library and spec give the same shards for ever, in every strategy."""
    options: dict[str, Any] = {k: tuple(v) if k == "types" else v for k, v in pinned["spec"].items()}
    ids, types = GOLDEN["library"]["ids"], GOLDEN["library"]["types"]
    plan = choose_tasks(PlanSpec.checked(**options), ids, types)
    assert [[ids[i] for i in shard] for shard in plan] == pinned["shards"]


def test_batches_hash_as_single_texts_do() -> None:
    """The batch is the formula; a lone surrogate, which JSON can spell, is hashed and not an error."""
    texts = ["", "task", "é", "\ud800", "a" * 1000]
    assert rank.stable_hashes(texts) == [rank.stable_hash(text) for text in texts]
    assert rank.stable_hashes([]) == []


def test_a_key_keeps_its_parts_apart() -> None:
    """No two lists of parts run together, and a seed is no part."""
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ('a","bc',), ()]
    assert len({rank.key(7, *each) for each in parts}) == len(parts)
    assert rank.key(1, "2") != rank.key(12)


def test_equal_ranks_are_settled_by_id() -> None:
    """Three tasks with one hash: the lowest ids win, wherever they stand, few or many asked for."""
    ids = ["c", "x", "a", "b"]
    hashes = [5, 9, 5, 5]
    first = [2, 3, 0]
    last = [1]
    expected = first + last if rank.rank(0, 5) < rank.rank(0, 9) else last + first
    for n in range(5):
        assert rank.choose(hashes, ids, 0, n) == expected[:n]
    many = [f"t{i:03}" for i in reversed(range(100))]
    assert rank.choose([5] * 100, many, 0, 2) == [99, 98]
    assert rank.choose([5] * 100, many, 0, 50) == list(range(99, 49, -1))


def test_choose_of_nothing() -> None:
    """No tasks, or none asked for, is an empty sample; more than there are is all of them."""
    assert rank.choose([], [], 1, 3) == []
    assert rank.choose([4], ["a"], 1, 0) == []
    assert rank.choose([4], ["a"], 1, 3) == [0]


# quotas


def test_sainte_lague_by_hand() -> None:
    """5 api, 3 basic, 1 multi. Quotients: api 5, 5/3, 1, 5/7, 5/9; basic 3, 1, 3/5; multi 1. Ties by name."""
    counts = {"multi": 1, "basic": 3, "api": 5}
    expected = ["api", "basic", "api", "api", "basic", "multi", "api", "basic", "api"]
    assert list(sainte_lague(counts)) == expected
    assert quotas(sainte_lague(counts), 4) == {"basic": 1, "api": 3}
    assert list(sainte_lague({"a": 0})) == list(sainte_lague({})) == []


def test_the_schedule_of_seats_by_hand() -> None:
    """4 A, 2 B, 1 C, 1 D: windows of A 1-2 3-4 5-6 7-8, of B 1-4 5-8, of C and D 1-8: A B A C A B A D, again and again.

    The place of entry is the seed's hash times 8 / 2**64; the order of equal ends is the seed's too.
    """
    assert list(islice(schedule([4, 2, 1, 1]), 12)) == [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2]
    assert list(schedule([])) == list(schedule([0])) == list(seats({}, 0)) == []
    entry = rank.key(3, "", "entry") * 8 >> 64
    drawn = "".join(seats(SMALL, 3))
    cycle = drawn[8 - entry :] + drawn[: 8 - entry]
    assert cycle in ("ABACABAD", "ABADABAC")


# deal


def test_cards() -> None:
    """Seven cards to three shards: 0 3 6, 1 4, 2 5."""
    assert [list(cards) for cards in deal(7, 3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_a_stratified_deal_by_hand() -> None:
    """Seats AB AC DA BA to two shards. The last round decides who has D in the third.

    Shard 0 has A, so A in round 2 goes to shard 1 and C to shard 0. Shard 1 has the first B, so shard 0 has
    the second and shard 1 the last A; therefore shard 0 has the third A, and D goes to shard 1.
    """
    assert list(sainte_lague(SMALL)) == list("ABACDABA")
    dealt = deal_types("ABACDABA", 2)
    assert dealt in ([list("ACAB"), list("BADA")], [list("BADA"), list("ACAB")])
    first, second = hand_out(dealt, 4)
    assert (first, second) == ({"A": [0, 2], "C": [0], "B": [1]}, {"B": [0], "A": [1, 3], "D": [0]})
    assert hand_out(dealt, 2) == [{"A": [0], "C": [0]}, {"B": [0], "A": [1]}]


def test_a_last_round_that_is_not_full() -> None:
    """Five seats for three shards: one has a single task, and no shard has two of a type."""
    dealt = deal_types("ababa", 3)
    assert sorted(map(len, dealt)) == [1, 2, 2]
    assert all(len(set(types)) == len(types) for types in dealt)
    assert deal_types("", 3) == [[], [], []]
    assert deal_types("aba", 1) == [["a", "b", "a"]]


def test_colouring_by_hand() -> None:
    """Two colours, blocks 0 1 | 2 3 | 1 2 | 0 3: colour after colour would fail, a path must be exchanged."""
    dealt = list(colour_rounds([0, 1, 2, 3, 1, 2, 0, 3], 2))
    assert [set(dealt[r : r + 2]) for r in (0, 2, 4, 6)] == [{0, 1}, {2, 3}, {1, 2}, {0, 3}]
    assert sorted(dealt[0::2]) == sorted(dealt[1::2]) == [0, 1, 2, 3]


def test_colouring_with_many_small_blocks() -> None:
    """Six rounds of five blocks of their own and one in common, which comes last and needs all six colours."""
    blocks = []
    for r in range(6):
        own = [1 + 5 * r + i if r else i for i in range(5)]
        blocks += [*own, 5]
    dealt = list(colour_rounds(blocks, 6))
    assert [sorted(dealt[r : r + 6]) for r in range(0, 36, 6)] == [sorted(blocks[r : r + 6]) for r in range(0, 36, 6)]
    assert sorted(place % 6 for place, block in enumerate(dealt) if block == 5) == [0, 1, 2, 3, 4, 5]


# order


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], []),
        ([0, 0], []),
        ([3], [0, 0, 0]),
        ([0, 2, 0, 1], [1, 1, 3]),
        ([2, 2], [0, 1, 0, 1]),
        ([3, 2, 1], [0, 1, 0, 1, 0, 2]),
        ([6, 3], [0, 0, 1, 0, 0, 1, 0, 0, 1]),
        ([1, 5], [1, 1, 1, 1, 0, 1]),
        ([6, 6, 5, 3], [0, 1, 2, 0, 1, 3, 2, 0, 1, 2, 0, 1, 3, 2, 0, 1, 0, 1, 2, 3]),
    ],
)
def test_interleaving_by_hand(counts: list[int], expected: list[int]) -> None:
    """The open window that closes first has the place. 2 1: A 1-2 2-3, B 1-3 (a tie at the second place)."""
    assert list(islice(schedule(counts), sum(counts))) == expected


def test_a_shards_order_keeps_rank_order_inside_a_type() -> None:
    """However types are mixed in the picks: a 4 3 1 (windows 1-2 2-4 4-5) and b 2 0 (windows 1-3 3-5)."""
    types = ["b", "a", "b", "a", "a"]
    assert in_proportion([4, 2, 3, 0, 1], types, str) == [4, 2, 3, 1, 0]
    assert in_proportion([2, 0, 4, 3, 1], types, str) == [4, 2, 3, 1, 0]
    assert in_proportion([0, 1], types, lambda name: -ord(name)) == [0, 1]  # equally soon: the lower precedence


# planner


@pytest.mark.parametrize(
    ("n", "first", "last"),
    [(1, "shard-00", "shard-00"), (100, "shard-00", "shard-99"), (101, "shard-000", "shard-100")],
)
def test_shard_ids(n: int, first: str, last: str) -> None:
    """One width for all, at least two digits, so that file names sort as numbers do."""
    ids = shard_ids(n)
    assert (ids[0], ids[-1], len(set(ids))) == (first, last, n)
    assert ids == sorted(ids)


def refused(**options: Any) -> list[Mistake]:
    """The mistakes of these options for a library of 19 api and 44 data tasks."""
    ids = [f"t{i}" for i in range(63)]
    with pytest.raises(OptionsError) as caught:
        choose_tasks(PlanSpec.checked(**options), ids, ["api"] * 19 + ["data"] * 44)
    return list(caught.value.mistakes)


@pytest.mark.parametrize(
    ("options", "where", "problem", "hint"),
    [
        (
            {"shards": 5, "num_instances": 20},
            "‹num_instances›",
            "5 shards x 20 = 100 tasks are asked for, but there are 63 (api 19, data 44)",
            "what fits: ‹num_instances› 12 with 5 shards, or ‹shards› 3 with ‹num_instances› 20",
        ),
        (
            {"shards": 5, "num_instances": 20, "stratify": True},
            "‹num_instances›",
            "5 shards x 20 = 100 tasks are asked for, but there are 63 (api has 19 for 31, data has 44 for 70)",
            "what fits: ‹num_instances› 12 with 5 shards, or ‹shards› 3 with ‹num_instances› 20",
        ),
        (
            {"shards": 5, "types": ("api",)},
            "‹num_instances›",
            "5 shards x 20 = 100 tasks are asked for, but there are 19 (api 19)",
            "what fits: ‹num_instances› 3 with 5 shards",
        ),
        (
            {"shards": 70, "num_instances": 2},
            "‹num_instances›",
            "70 shards x 2 = 140 tasks are asked for, but there are 63 (api 19, data 44)",
            "what fits: ‹shards› 31 with ‹num_instances› 2",
        ),
        (
            {"shards": 70, "num_instances": 80},
            "‹num_instances›",
            "70 shards x 80 = 5600 tasks are asked for, but there are 63 (api 19, data 44)",
            "what fits: ‹shards› 1 with ‹num_instances› 63",
        ),
        (
            {"shards": 3, "num_instances": 80, "strategy": "paired"},
            "‹num_instances›",
            "80 tasks are asked for, but there are 63 (api 19, data 44)",
            "what fits: ‹num_instances› 63",
        ),
        (
            {"shards": 3, "num_instances": 64, "strategy": "independent"},
            "‹num_instances›",
            "64 tasks are asked for, but there are 63 (api 19, data 44)",
            "what fits: ‹num_instances› 63",
        ),
        (
            {"shards": 5, "num_instances": 4, "per_type": True},
            "‹per_type›",
            "5 shards x 4 = 20 tasks of each type are asked for, but api has 19",
            "what fits: ‹num_instances› 3 with 5 shards, or ‹shards› 4 with ‹num_instances› 4",
        ),
        (
            {"shards": 64, "whole": True},
            "‹whole›",
            "63 tasks dealt to 64 shards leave 1 of them empty",
            "what fits: ‹shards› 63",
        ),
    ],
)
def test_too_few_tasks_are_refused(options: dict[str, Any], where: str, problem: str, hint: str) -> None:
    """Law 4: too few tasks are refused, with the numbers and what would fit."""
    assert refused(**options) == [(where, problem, hint)]


def test_every_mistake_is_told_at_once() -> None:
    """Two quotas that are too large and one of no type: three mistakes."""
    assert refused(shards=10, quotas={"api": 2, "data": 5, "x": 0}) == [
        ("‹quotas› x", "the library has no task of type 'x'", "the types there are: api, data"),
        (
            "‹quotas› api",
            "10 shards x 2 = 20 tasks of type api are asked for, but there are 19",
            "what fits: ‹quotas› api=1 with 10 shards, or ‹shards› 9 with ‹quotas› api=2",
        ),
        (
            "‹quotas› data",
            "10 shards x 5 = 50 tasks of type data are asked for, but there are 44",
            "what fits: ‹quotas› data=4 with 10 shards, or ‹shards› 8 with ‹quotas› data=5",
        ),
    ]


def test_unknown_types_are_named_with_the_types_there_are() -> None:
    """Each unknown type is a mistake; a total over the others would mislead and is not told."""
    hint = "the types there are: api, data"
    assert refused(types=("x", "api", "y"), shards=60) == [
        ("‹types›", "the library has no task of type 'x'", hint),
        ("‹types›", "the library has no task of type 'y'", hint),
    ]


def test_a_long_list_of_types_is_cut() -> None:
    """Twenty names are enough to see the spelling."""
    types = [f"type{i:02}" for i in range(25)]
    with pytest.raises(OptionsError, match=r"type18, type19 and 5 more$"):
        choose_tasks(PlanSpec.checked(types=("x",)), types, types)


def test_nothing_to_plan_is_refused() -> None:
    """An empty library, and a spec (not a checked one) whose quotas are all 0, leave no task."""
    with pytest.raises(OptionsError, match="it holds no task"):
        choose_tasks(PlanSpec(), [], [])
    with pytest.raises(OptionsError, match="no task is left"):
        choose_tasks(PlanSpec(quotas={"a": 0}), ["1"], ["a"])


@pytest.mark.parametrize(
    "options",
    [
        {"shards": 3, "num_instances": 21},
        {"shards": 3, "num_instances": 21, "stratify": True},
        {"shards": 19, "num_instances": 1, "per_type": True},
        {"shards": 4, "quotas": {"api": 4, "data": 11}},
        {"shards": 63, "whole": True},
        {"shards": 2, "num_instances": 63, "strategy": "paired"},
    ],
)
def test_the_last_task_can_be_used(options: dict[str, Any]) -> None:
    """What just fits is not refused: the numbers that a refusal names are true."""
    ids = [f"t{i}" for i in range(63)]
    plan = choose_tasks(PlanSpec.checked(**options), ids, ["api"] * 19 + ["data"] * 44)
    assert all(plan)


def test_a_quota_of_0_takes_none() -> None:
    """0 is a quota: none of that type, and none of the types without a quota."""
    plan = choose_tasks(PlanSpec.checked(quotas={"a": 1, "b": 0}), ["1", "2", "3"], ["a", "b", "c"])
    assert plan == [[0]]


# the room


def test_planning_imports_nothing_that_could_make_it_impure() -> None:
    """Law 2: no clock, no `random`, no disk: the room imports this much and no more."""
    allowed = {
        "__future__",
        "array",
        "collections",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "msgspec",
        "re",
        "struct",
    }
    for file in Path(prealloc.planning.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                room = ".".join(name.split(".")[:2])
                inside = room in ("prealloc.errors", "prealloc.model", "prealloc.planning", "prealloc.statistics")
                assert inside or name.split(".")[0] in allowed | {"typing"}, f"{file.name} imports {name}"


def test_the_hash_seed_of_python_does_not_matter() -> None:
    """Law 2: two interpreters that hash strings differently make the same plan."""
    program = (
        "from prealloc.model.plan_spec import PlanSpec\n"
        "from prealloc.planning.planner import choose_tasks\n"
        "ids = [f't{i}' for i in range(90)]\n"
        "types = [f'type{i % 7}' for i in range(90)]\n"
        "for told in ({'stratify': True}, {'per_type': True, 'num_instances': 2}, {'whole': True}):\n"
        "    print(choose_tasks(PlanSpec.checked(shards=4, types=('type1', 'type3', 'type5'),\n"
        "        **({'num_instances': 5} if told == {'stratify': True} else {}) | told), ids, types))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
