"""Tasks that lie many to a box (a part, a row group): each box is opened once, whatever the order asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby


def in_asked_order(
    positions: Sequence[int],
    places: Sequence[int],
    starts: Sequence[int],
    read: Callable[[int, list[int]], Mapping[int, bytes]],
) -> Iterator[bytes]:
    """The text at each of the positions, in this order; a position may be asked for several times.

    `places` says where the text at each position lies, `starts[b]` where box b begins. `read(b, positions)` gives the
    texts at these positions, all in box b and in the order of their places; it is called once for each box, when its
    first text is due. Held in memory are the texts that were read and are asked for later.
    """

    def box(position: int) -> int:
        return bisect_right(starts, places[position]) - 1

    left = Counter(positions)
    wanted = {number: list(inside) for number, inside in groupby(sorted(left, key=places.__getitem__), box)}
    held: dict[int, bytes] = {}
    for position in positions:
        if position not in held:
            held.update(read(box(position), wanted[box(position)]))
        left[position] -= 1
        yield held[position] if left[position] else held.pop(position)
