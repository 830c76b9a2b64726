"""Ids that several tasks have: found by their hashes, and told alike by whoever finds them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from operator import eq

from prealloc.errors import LibraryError
from prealloc.model.words import shown

_IDS_SHOWN, _TASKS_SHOWN = 10, 4
_BUCKETS = 256


def refuse_duplicates_among(
    hashes: array[int], id_of: Callable[[int], str | None], where: str, number: Callable[[int], str] = str
) -> array[int]:
    """Raises LibraryError if two tasks have the same id, by the hashes of all ids. Gives the `sorted_positions`.

    `number` tells which task is at a position.
    `id_of` is asked only for ids whose hashes are equal. It gives None for an id that was not kept: 64 bits of
    10 million ids collide once in 370,000 libraries, so that it is the same as the others of its hash.
    """
    order = sorted_positions(hashes)
    twice: list[tuple[str | None, Sequence[int]]] = []
    for group in equal_hashes(hashes, order):
        places: dict[str | None, list[int]] = {}
        for position in group:
            places.setdefault(id_of(position), []).append(position)
        if None in places:
            places = {next((id for id in places if id is not None), None): group}
        twice += [(id, found) for id, found in places.items() if len(found) > 1]
    if not twice:
        return order
    told = []
    for id, positions in sorted(twice, key=lambda each: min(each[1]))[:_IDS_SHOWN]:
        tasks = f"tasks {', '.join(map(number, sorted(positions)[:_TASKS_SHOWN]))}"
        told.append(tasks if id is None else f"{shown(id)} in {tasks}")
    many = "1 id is" if len(twice) == 1 else f"{len(twice)} ids are"
    more = f"; and {len(twice) - _IDS_SHOWN} more" if len(twice) > _IDS_SHOWN else ""
    hint = "give every task an id of its own, or ‹id_from› position, or ‹id_from› content if the tasks differ"
    raise LibraryError(f"{many} there more than once: {'; '.join(told)}{more}", where=where, hint=hint)


def equal_hashes(hashes: Sequence[int], order: Sequence[int]) -> list[list[int]]:
    """Groups of positions whose hashes are equal: ids that are there twice, or as good as never a collision.

    `order` is that of `sorted_positions`.
    """
    value = hashes.__getitem__
    if not any(map(eq, map(value, order), map(value, islice(order, 1, None)))):
        return []
    groups = (list(group) for _, group in groupby(order, value))
    return [group for group in groups if len(group) > 1]


def sorted_positions(hashes: array[int]) -> array[int]:
    """Positions in the order of their hashes, with 4 bytes a task more and no list of all of them."""
    buckets = [array("I") for _ in range(_BUCKETS)]
    append = [bucket.append for bucket in buckets]
    for position, value in enumerate(hashes):
        append[value >> 56](position)
    order = array("I")
    for number, bucket in enumerate(buckets):
        order.extend(sorted(bucket, key=hashes.__getitem__))
        buckets[number] = array("I")
    return order
