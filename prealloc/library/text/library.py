"""A library that was read once and not kept: the tasks that a plan may choose, and the numbers of all the others."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.base import Library
from prealloc.library.disk import Progress
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.reading import read_tasks
from prealloc.library.text.sources import Proof, Source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.task_hash import stable_hashes


class Shortlist(Protocol):
    """Tells which tasks may still be chosen while they go by; see planning/shortlist.py."""

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> Sequence[int]:
        """Which of these tasks, by their places in the arguments, must be held."""

    def held(self) -> set[int]:
        """Which of all the tasks so far, counted from 0, must still be held."""


class TextLibrary(Library):
    """Reads a text once, in memory for the tasks of a shortlist (without one, for all) and 12 bytes for each other.

    `ids`, `types` and tasks are those that may be chosen, `info` counts all.
    Raises LibraryError, with file, place and hint, for what is not a library.
    """

    def __init__(
        self,
        source: Source,
        shortlist: Callable[[], Shortlist | None],
        *,
        keep: tuple[str, ...] = (),
        fields: Fields = COMMON,
        progress: Progress | None = None,
    ) -> None:
        read = read_tasks(source, lambda _: _Tasks(shortlist()), fields=fields, keep=keep, progress=progress)
        self._source = source
        self._held = read.taker.held()
        self._kept = read.kept
        self._naming = read.naming
        self.note = read.note
        ids, types = ([getattr(task, name) for task in self._held] for name in ("id", "type"))
        self.way = "json" if len(ids) == read.info.tasks and not source.made else "stream"
        super().__init__(read.info, ids, types, read.counts, keep)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        for task in map(self._held.__getitem__, positions):
            yield task.text if self._naming is None else self._naming.own(task.text, task.id, task.type)

    def absent(self, names: Iterable[str]) -> set[str]:
        return set(names) - self._kept

    def _place(self, position: int, raw: bytes = b"", offset: int = 0) -> str:
        task = self._held[position]
        place = f"{self._source.where}, {self._source.task(task.number, task.id)}"
        if self._source.once or self._source.made:
            return place
        with suppress(LibraryError):  # it was changed since
            for batch in batches(self._source, lambda first: dict[str, Raw], Proof()):
                index = task.number - batch.origin.task
                if index < len(batch.rows):
                    return f"{place}, {batch.origin.at(batch.spans[index][0] + max(0, task.text.find(raw)) + offset)}"
        return place


class _Held(msgspec.Struct, frozen=True, gc=False):
    number: int
    """Of all tasks, from 0."""
    id: str
    type: str
    text: bytes


class _Tasks:
    """The tasks that went by under one pair of names. Lets go of what cannot be chosen any more."""

    def __init__(self, shortlist: Shortlist | None) -> None:
        self._shortlist = shortlist
        self._held: list[_Held] = []
        self._pruned = 0
        self._hashes = array("Q")

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None:
        first, hashes = len(self._hashes), stable_hashes(ids)
        self._hashes.extend(hashes)
        for place in range(len(ids)) if self._shortlist is None else self._shortlist.offer(hashes, types):
            text, type = bytes(batch.texts[place]), sys.intern(types[place])
            self._held.append(_Held(number=first + place, id=ids[place], type=type, text=text))
        if len(self._held) > 2 * self._pruned:
            self._held = self.held()
            self._pruned = len(self._held)

    def finish(self, where: str, number: Callable[[int], str]) -> None:
        ids = {task.number: task.id for task in self._held}
        refuse_duplicates_among(self._hashes, ids.get, where, number)

    def held(self) -> list[_Held]:
        """The tasks that may still be chosen."""
        if self._shortlist is None:
            return self._held
        keep = self._shortlist.held()
        return [task for task in self._held if task.number in keep]
