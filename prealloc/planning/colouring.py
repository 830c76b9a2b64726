"""Edge colouring of a bipartite graph with as many colours as its highest degree.

D. König, "Über Graphen und ihre Anwendung auf Determinantentheorie und Mengenlehre", Math. Annalen 77
(1916): so many colours always suffice. His proof is the algorithm: edges are coloured one after the other,
and where no colour is free at both ends, two colours are exchanged along an alternating path (a Kempe
chain).
"""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence, Sequence
from typing import Protocol

NOBODY = -1


class _Table(Protocol):
    """At [x * colours + c] the other end of the edge that has colour c at vertex x, or NOBODY."""

    def __getitem__(self, place: int, /) -> int: ...
    def __setitem__(self, place: int, end: int, /) -> None: ...


class _SparseTable(dict[int, int]):
    def __missing__(self, place: int) -> int:
        return NOBODY


def colour_rounds(blocks: Sequence[int], colours: int) -> MutableSequence[int]:
    """Colours the edges (i // colours, blocks[i]): left are rounds of `colours` edges, right are blocks.

    No block may occur more than `colours` times; they are numbered from 0 in the order of their first edge.
    Returns the block that has colour c in round r at [r * colours + c], NOBODY where the last round is not
    full. Then no round and no block has a colour twice. Parallel edges are allowed, and alike.

    Time is about 1 us an edge: a path is looked for from both ends of the edge in step, and the shorter one
    is exchanged. (From one end alone, 100 types in 2 colours made paths of 240 steps on the mean, instead
    of 10.)
    """
    rounds = -(-len(blocks) // colours)
    vertices = max(blocks, default=NOBODY) + 1
    by_round = array("i", [NOBODY]) * (rounds * colours)
    # Where types have few tasks each, blocks are many and hardly filled: an array would be mostly NOBODY.
    sparse = vertices > 4 * rounds
    by_block: _Table = _SparseTable() if sparse else array("i", [NOBODY]) * (vertices * colours)
    # The colours that are still free at a vertex, as the bits of an integer.
    round_free = [(1 << colours) - 1] * rounds
    block_free = [(1 << colours) - 1] * vertices

    for edge, block in enumerate(blocks):
        left = edge // colours
        bit = _lowest_bit(round_free[left] & block_free[block])
        if not bit:
            of_round, of_block = _lowest_bit(round_free[left]), _lowest_bit(block_free[block])
            a, b = of_round.bit_length() - 1, of_block.bit_length() - 1
            path, from_block = _shorter_path(by_round, by_block, colours, left, block, a, b)
            at_block = from_block
            for vertex in path:
                table = by_block if at_block else by_round
                one, other = vertex * colours + a, vertex * colours + b
                table[one], table[other] = table[other], table[one]
                at_block = not at_block
            # Only the two ends of the path had one of the colours free; now it is the other one.
            for vertex, of_blocks in ((path[0], from_block), (path[-1], not at_block)):
                (block_free if of_blocks else round_free)[vertex] ^= of_round | of_block
            bit = of_round if from_block else of_block
        round_free[left] ^= bit
        block_free[block] ^= bit
        colour = bit.bit_length() - 1
        by_round[left * colours + colour] = block
        by_block[block * colours + colour] = left
    return by_round


def _lowest_bit(bits: int) -> int:
    return bits & -bits


def _shorter_path(
    by_round: _Table, by_block: _Table, colours: int, left: int, block: int, a: int, b: int
) -> tuple[list[int], bool]:
    """The vertices of a path whose edges have the colours a and b in turn, and whether it begins at the
    block.

    Colour a is free at the round `left` and taken at the block, b the other way round. One path leaves the
    block by its edge of colour a, one leaves the round by its edge of colour b. They never meet: the first
    comes to a round only by colour a, which `left` does not have. Each ends, as no vertex has a colour
    twice.
    """
    from_block, from_left = [block], [left]
    first, second = by_block, by_round
    one, other = a, b
    while True:
        end = first[from_block[-1] * colours + one]
        if end == NOBODY:
            return from_block, True
        from_block.append(end)
        end = second[from_left[-1] * colours + other]
        if end == NOBODY:
            return from_left, False
        from_left.append(end)
        first, second = second, first
        one, other = other, one
