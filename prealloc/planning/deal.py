"""Which shard takes which task of a cell's sample. Positions are places in a ranking, lowest rank first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from math import gcd

from prealloc.planning.colouring import NOBODY, colour_rounds
from prealloc.planning.order import schedule


def deal(total: int, shards: int) -> list[range]:
    """A ranking of `total` tasks, dealt like cards: shard i of S takes the positions i, i + S, i + 2S, ...

    Shards differ by at most one task. A larger sample only adds to a shard's cards.
    """
    return [range(shard, total, shards) for shard in range(shards)]


def deal_alike(types: int, each: int, shards: int) -> list[list[int]]:
    """For each shard its cards of so many types with as many cards each; card k of type t is number t * each + k.

    Card k of T types goes to shard k*T + t + k // L mod S, where L = S / gcd(S, T) rounds come back to the first shard:
      * n rounds are a run of shards after full turns, so shards differ by at most one card,
      * a type's L cards lie gcd(S, T) shards apart and the next L beside them, so that S of them are one for each
        shard: shards differ by at most one card of each type,
      * where a card goes does not depend on `each`: more of each type moves none.
    """
    rounds = shards // gcd(shards, types)
    hands: list[list[int]] = [[] for _ in range(shards)]
    for t in range(types):
        for k in range(each):
            hands[(k * types + t + k // rounds) % shards].append(t * each + k)
    return hands


def deal_types(awards: Iterable[str], shards: int) -> list[list[str]]:
    """For each shard the types of its tasks, round after round, where `awards` says the type of every seat.

    Round r is the seats r*S to r*S + S - 1 of the award sequence; block j of a type is its own seats j*S to
    j*S + S - 1. A seat joins its round to its block, and its shard is the colour of that edge: once at most
    in every round and in every block. Hence, for every n,
      * the first n rounds give each shard n tasks (a last round that is not full gives one task to some),
      * of each type they give each shard one task from every full block, and at most one from the block that
        is not full: shards differ by at most one task of each type, and the cell's quotas are exact,
      * n + 1 rounds keep what n rounds gave.
    Dealing round by round cannot do that. Of 4 A, 2 B, 1 C and 1 D, two shards get the rounds AB, AC, DA, BA:
    the shard with the first B may not take the second, so that the last round decides who has D in the third.
    Therefore `awards` must run to the end of the library, however little of it is asked for; that is also
    why n does not change the picks.
    """
    names, blocks = _blocks(awards, shards)
    dealt = colour_rounds(blocks, shards)
    return [[names[b] for b in dealt[shard::shards] if b != NOBODY] for shard in range(shards)]


def deal_seats(awards: Iterable[str], shards: int, seats: int) -> list[dict[str, list[int]]]:
    """For each shard and type the positions in that type's ranking which the first `seats` seats give it.

    The same deal as `deal_types`, cut within a round: of a block's seats in that round as many are given as were
    awarded, to the shards in the order of their numbers. So a block of which every seat was awarded still gives each
    shard one task, and the law of `deal_types` holds for any number of seats; one seat more adds one task to one
    shard and moves none.
    """
    names, blocks = _blocks(awards, shards)
    dealt = colour_rounds(blocks, shards)
    hands: list[dict[str, list[int]]] = [{} for _ in range(shards)]
    taken: Counter[str] = Counter()
    for start in range(0, seats, shards):
        awarded = Counter(blocks[start : min(start + shards, seats)])
        # By blocks first: a type's next block begins when all seats of the one before are given.
        for block, shard in sorted((dealt[start + shard], shard) for shard in range(shards)):
            if awarded[block] > 0:
                awarded[block] -= 1
                hands[shard].setdefault(names[block], []).append(taken[names[block]])
                taken[names[block]] += 1
    return hands


def hands_of(sizes: Sequence[int]) -> list[list[int]]:
    """For each shard the hands that it takes, of as many as the sizes say together.

    Spread so that in every number of hands, and so of cards, each shard has its share to within one (see `schedule`).
    """
    shards: list[list[int]] = [[] for _ in sizes]
    for hand, shard in enumerate(islice(schedule(sizes), sum(sizes))):
        shards[shard].append(hand)
    return shards


def _blocks(awards: Iterable[str], shards: int) -> tuple[list[str], list[int]]:
    """The type of every block, and the block of every seat."""
    names: list[str] = []
    blocks: list[int] = []
    current: dict[str, int] = {}
    left: dict[str, int] = {}
    for name in awards:
        if not left.get(name):
            current[name] = len(names)
            left[name] = shards
            names.append(name)
        left[name] -= 1
        blocks.append(current[name])
    return names, blocks


def hand_out(dealt: Sequence[Sequence[str]], rounds: int) -> list[dict[str, list[int]]]:
    """For each shard and type the positions in that type's ranking which the first `rounds` rounds give it.

    `dealt` comes from `deal_types`. Within a round, shards take the next best tasks in the order of their
    numbers.
    """
    hands: list[dict[str, list[int]]] = [{} for _ in dealt]
    taken: dict[str, int] = {}
    for number in range(rounds):
        for types, hand in zip(dealt, hands, strict=True):
            if number < len(types):
                name = types[number]
                position = taken.get(name, 0)
                taken[name] = position + 1
                hand.setdefault(name, []).append(position)
    return hands
