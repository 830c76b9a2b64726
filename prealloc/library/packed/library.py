"""What all stored libraries have in common: tasks that are found in a packed table, and proved by it.

In some, tasks are rows of a table that others can read too. In some, many lie in a box (a part, a row group), which is
written and read as a whole.
"""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.base import Add, Library, Record, info_of
from prealloc.library.packed.table import Columns, ColumnsBuilder, StoredFormat, digest
from prealloc.library.rows import Counts, are_names, checked_keep
from prealloc.library.text.refuse import no_tasks
from prealloc.model.fields import COMMON, Fields
from prealloc.model.task_hash import hash_of

Text = TypeVar("Text", bytes, memoryview)


class PackedLibrary(Library):
    """A library whose ids, types and digests are in a packed table."""

    _unlike = "the task's text is not what was written"
    """What is wrong where the digest of a text is another."""

    def __init__(
        self,
        columns: Columns[Any],
        path: Path,
        keep: tuple[str, ...],
        *,
        size: int,
        sha256: str | None = None,
        fields: Fields = COMMON,
    ) -> None:
        """`sha256`: None where that of the table tells one library from another."""
        self.columns, self.path = columns, path
        types = Counter(map(columns.head.types.__getitem__, columns.type_number))
        info = info_of(path, size=size, sha256=sha256 or columns.head.sha256, types=types, fields=fields)
        ids, names = (Lazy(columns.head.tasks, get) for get in (columns.id, columns.type))
        super().__init__(info, ids, names, columns.head, checked_keep(keep))

    def hashes(self) -> Sequence[int]:
        return self.columns.hash

    def _proved(self, position: int, text: Text) -> Text:
        """The text of a task. Raises LibraryError for any but the one that was written."""
        if digest(text) != self.columns.digest(position):
            raise self.columns.format.damaged(self._unlike, self._place(position))
        return text


class Lazy(Sequence[str]):
    """A sequence whose items are made when they are asked for."""

    def __init__(self, size: int, get: Callable[[int], str]) -> None:
        self._places = range(size)
        self._get = get

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: Any) -> Any:
        places = self._places[at]
        return list(map(self._get, places)) if isinstance(places, range) else self._get(places)

    def __iter__(self) -> Iterator[str]:
        return map(self._get, self._places)


class HeldLibrary(PackedLibrary):
    """One whose tasks are found by id, and whose file is held open. Close it, or use `with`; iterates over the ids."""

    def _hold(self, descriptor: int) -> None:
        """Takes the file with the tasks' texts, and closes it with this object, also where opening fails later."""
        import prealloc.model.task  # noqa: F401  # now: whoever reads may be a thread beside a fork

        self._descriptor = descriptor
        self._let_go = weakref.finalize(self, os.close, descriptor)
        self._let_go.atexit = False  # threads may still read: the system closes it

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        self.refuse_unusable()
        return isinstance(id, str) and self.columns.position(id) is not None

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        return {id: place for id in ids if (place := self.columns.position(id)) is not None}

    def position(self, id: str) -> int:
        """Where a task is. Raises KeyError."""
        self.refuse_unusable()
        position = self.columns.position(id) if isinstance(id, str) else None
        if position is None:
            raise KeyError(id)
        return position

    def random_position(self, type: str | None, seed: int) -> int:
        """Where such a task is, see `TaskIndex.random_task`."""
        self.refuse_unusable()
        among = self.columns.order if type is None else self._of_type[type]
        return among[hash_of(msgspec.json.encode([seed, type])) % len(among)]

    @cached_property
    def _of_type(self) -> dict[str, Sequence[int]]:
        """The positions of the tasks of each type, by their hashes: they do not depend on the order of the library."""
        found = [array("I") for _ in self.columns.head.types]
        for position in self.columns.order:
            found[self.columns.type_number[position]].append(position)
        return dict(zip(self.columns.head.types, found, strict=True))

    def refuse_unusable(self) -> None:
        """Raises LibraryError after `close`, and where the file tells by itself that it is another."""
        if not self._let_go.alive:
            raise LibraryError("it was closed", where=self.info.path, hint="open it again, or close it later")

    def close(self) -> None:
        """Lets go of the file. Tasks that were given stay as they are."""
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


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


StoredNames = tuple[Sequence[Any], Sequence[Any], Sequence[bytes]]
"""What should be the ids, the types and the digests of some tasks."""


def table_of_rows(rows: Iterable[StoredNames], format: StoredFormat, where: str, counts: Counts) -> Columns[None]:
    """The table of tasks that lie in rows, which must have the sha256 of the counts, if they have one."""
    builder = ColumnsBuilder()
    for ids, types, digests in rows:
        if not (are_names(ids) and are_names(types)):
            raise format.damaged("the id or the type of a task is not a text that can be one", where)
        builder.extend(ids, types, digests)
    if not builder.hash:
        raise no_tasks(where)
    builder.counts = counts
    head, pieces = builder.pack(format, None)
    return Columns(head, memoryview(b"".join(pieces)), format, where)
