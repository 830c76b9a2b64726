"""Tasks that lie many to a box (a part, a row group): written a box at a time, and each opened once to be read."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from prealloc.library.base import Add, Record


@contextmanager
def filling(write: Callable[[list[Record]], None], most_bytes: int, most_tasks: int | None = None) -> Iterator[Add]:
    """Takes tasks, and gives `write` those of a box, at least one: about `most_bytes`, no more than `most_tasks`."""
    records, size = list[Record](), 0

    def add(record: Record) -> None:
        nonlocal size
        records.append(record)
        size += len(record.text) + 1
        if size >= most_bytes or len(records) == most_tasks:
            write(records)
            records.clear()
            size = 0

    yield add
    if records:
        write(records)


def in_asked_order(
    positions: Sequence[int],
    starts: Sequence[int],
    read: Callable[[int, list[int]], Iterable[bytes]],
) -> Iterator[bytes]:
    """The text at each of the positions, in this order; a position may be asked for several times.

    `starts[b]` is the first position in box b. `read(b, positions)` gives the texts at these positions, which are
    sorted and all in box b; it is called once for each box, when its first text is due. Held in memory are the texts
    that were read and are asked for later.
    """
    left = Counter(positions)
    wanted = {box: list(inside) for box, inside in groupby(sorted(left), lambda at: bisect_right(starts, at) - 1)}
    held: dict[int, bytes] = {}
    for position in positions:
        if position not in held:
            box = bisect_right(starts, position) - 1
            held.update(zip(wanted[box], read(box, wanted[box]), strict=True))
        left[position] -= 1
        yield held[position] if left[position] else held.pop(position)
