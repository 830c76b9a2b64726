"""The ids and types that a stored library names, checked as those of a JSON library are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prealloc.errors import LibraryError
from prealloc.library.rows import is_name
from prealloc.model.json_value import shown


def checked_names(pairs: Iterable[tuple[Any, Any]], *, where: str, row: str, mend: str) -> tuple[list[str], list[str]]:
    """Ids and types, in their order. `row` is the word for what holds a pair (`row`, `line`), for messages.

    Raises LibraryError for an id or type that is no string, empty or has a NUL, for an id that is there twice, and
    if there are no tasks. Rows count from 0.
    """
    ids: list[str] = []
    types: list[str] = []
    one_of: dict[str, str] = {}  # one string object per type, not one per task
    for id, type in pairs:
        if not (is_name(id) and is_name(type)):
            word, value = ("type", type) if is_name(id) else ("id", id)
            problem = f"the task has no {word}" if value is None else f"{shown(value)} can be no {word} of a task"
            raise LibraryError(problem, where=f"{where}, {row} {len(ids)} (counted from 0)", mend=mend)
        ids.append(id)
        types.append(one_of.setdefault(type, type))
    if not ids:
        raise LibraryError("the library has no tasks", where=where, mend="give a library with at least one task")
    if len(set(ids)) < len(ids):
        raise _twice(ids, where, row)
    return ids, types


def _twice(ids: list[str], where: str, row: str) -> LibraryError:
    first: dict[str, int] = {}
    for place, id in enumerate(ids):
        if id in first:
            return LibraryError(
                f"two tasks have the id {ascii(id)[:80]}, that of {row} {first[id]} too",
                where=f"{where}, {row} {place} (counted from 0)",
                mend="give every task an id of its own",
            )
        first[id] = place
    raise AssertionError("all ids differ")
