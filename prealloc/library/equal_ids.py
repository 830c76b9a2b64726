"""Ids that several tasks have: found by their hashes, and told alike by whoever finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prealloc.errors import LibraryError
from prealloc.model.json_value import shown

_IDS_SHOWN, _TASKS_SHOWN = 10, 4


def equal_hashes(hashes: Sequence[int], order: Sequence[int]) -> list[list[int]]:
    """Groups of positions whose hashes are equal: ids that are there twice, or as good as never a collision.

    `order` is that of `sorted_positions`.
    """
    groups: list[list[int]] = []
    before = None
    for at, position in enumerate(order):
        value = hashes[position]
        if value == before:
            if not groups or groups[-1][-1] != order[at - 1]:
                groups.append([order[at - 1]])
            groups[-1].append(position)
        before = value
    return groups


def refuse_equal_ids(id_of: Callable[[int], str], groups: Iterable[Sequence[int]], where: str) -> None:
    """Raises LibraryError if tasks whose hashes are equal have the same id."""
    places: dict[str, list[int]] = {}
    for group in groups:
        for position in group:
            places.setdefault(id_of(position), []).append(position)
    twice = [(id, found) for id, found in places.items() if len(found) > 1]
    if twice:
        raise equal_ids(twice, where)


def equal_ids(twice: Sequence[tuple[str | None, Sequence[int]]], where: str) -> LibraryError:
    """The error of these ids and the tasks that have them, counted from 0. None: an id that nobody kept."""
    told = []
    for id, places in twice[:_IDS_SHOWN]:
        tasks = f"tasks {', '.join(map(str, sorted(places)[:_TASKS_SHOWN]))}"
        told.append(tasks if id is None else f"{shown(id)} in {tasks}")
    many = "1 id is" if len(twice) == 1 else f"{len(twice)} ids are"
    more = f"; and {len(twice) - _IDS_SHOWN} more" if len(twice) > _IDS_SHOWN else ""
    return LibraryError(
        f"{many} there more than once: {'; '.join(told)}{more}", where=where, mend="give every task an id of its own"
    )
