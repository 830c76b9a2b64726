"""Reads the tasks of a text in one pass: counts them, finds how they are named, gives them to whoever wants them.

A plan wants those that it may choose, and only the numbers of all the others.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.base import Library, info_of
from prealloc.library.disk import Progress
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.naming import Column, Names, Naming, needed
from prealloc.library.rows import NOTHING, Counts, field_of, fields_of, row_type, texts_at
from prealloc.library.text.batch import Batch, of_names
from prealloc.library.text.batches import batches
from prealloc.library.text.refuse import no_tasks
from prealloc.library.text.sources import Proof, Source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, TYPE_SPELLINGS
from prealloc.model.task_hash import stable_hashes
from prealloc.model.words import shown
from prealloc.processes.setting import COLLECTING


class Taker(Protocol):
    """Takes the tasks of a library, batch by batch, by one pair of names."""

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None: ...

    def finish(self, where: str, number: Callable[[int], str]) -> None:
        """Raises LibraryError for an id that is there twice. `number` tells which task is at a position."""


T = TypeVar("T", bound=Taker)


class Reading(Generic[T]):
    """Reads tasks by every pair of columns that may name them, by the best that the first batch shows, or by none."""

    info: LibraryInfo
    taker: T
    """Has taken the tasks by the names that were chosen."""
    naming: Naming | None = None
    """How the tasks are named; None where they are spelled as ours are."""
    title: str | None = None
    """What a document calls the list of its tasks, where it is not "tasks"."""

    def __init__(
        self, names: Names, new_taker: Callable[[], T], keep: tuple[str, ...], *, guess: bool, waits: bool
    ) -> None:
        self.counts = Counts(0, 0, 0)
        self.types: Counter[str] = Counter()
        """How many tasks there are of each type."""
        self.kept: set[str] = set()
        """The fields to keep that any task has."""
        self._keep = {*keep} - {EVERY_FIELD}
        self._names = names
        self._guess = guess
        self._new_taker = new_taker
        self._takers: dict[tuple[Column, Column], tuple[T, Counter[str]]] | None = {} if waits else None

    @property
    def note(self) -> str | None:
        """What was chosen, as a sentence; None where there was nothing to choose."""
        title = None if self.title is None else f"tasks are read from the list {shown(self.title)}"
        return "; ".join(filter(None, [title, self.naming and self.naming.note])) or None

    def take(self, batch: Batch) -> None:
        rows = batch.rows
        named = self._names.take(rows, lambda: batch.texts)
        if self._names.is_ours and len(named) < 2:
            raise of_names(batch)
        ours = {*ID_SPELLINGS, *TYPE_SPELLINGS, "workflow", *self._keep} if self._names.is_ours else None
        batch.refuse_twice(ours)
        if self._takers is None:
            best = self._names.best() if self._guess else None
            pairs = product(self._names.ids, self._names.types)
            self._takers = {pair: (self._new_taker(), Counter()) for pair in pairs if best in (None, pair)}
        self._takers = {pair: each for pair, each in self._takers.items() if named.keys() >= {*pair}}
        for (ids, types), (taker, seen) in self._takers.items():
            seen.update(named[types])
            taker.add(named[ids], named[types], batch)
        self.counts.add(rows, texts_at(rows, self._names.workflow))
        self.kept |= {name for name in self._keep - self.kept if field_of(rows, name).count(NOTHING) < len(rows)}

    def choose(self) -> bool:
        """At the end: sets `taker` and `naming`. False: no taker has these names. Raises LibraryError if names lack."""
        has_workflow = self.counts.without_workflow < self.counts.tasks
        naming = self._names.chosen(has_workflow=has_workflow)
        self.naming = None if self._names.is_ours else naming
        found = (self._takers or {}).get((naming.ids, naming.types))
        if found is not None:
            self.taker, self.types = found
        return found is not None


def read_tasks(
    source: Source,
    new_taker: Callable[[Naming | None], T],
    *,
    fields: Fields = COMMON,
    keep: tuple[str, ...] = (),
    progress: Progress | None = None,
    naming: Naming | None = None,
    named_first: bool = False,
) -> Reading[T]:
    """Reads a library. Raises LibraryError, with file, place and hint, for whatever is none.

    `new_taker` is told how the tasks are named: None where they are spelled as ours are, or where nobody knows yet.

    How tasks that are not spelled as ours are named is known at the end. What the first tasks show is nearly always
    right, so that one taker gets the tasks, by these names; if not, the library is read again, by the `naming` that is
    known then; and so it is if takers must know it (`named_first`). Where it can be read only once, each pair of fields
    that may be the names has a taker until then.
    """
    proof, reading = Proof(), None
    asked = msgspec.structs.replace(fields, tasks_field=None)

    def shape(first: Batch) -> type:
        nonlocal reading
        task = fields_of(first.first())
        may_be_ours = asked == COMMON and first.key is None
        names = Names(asked, task, source.where, naming, source.task, may_be_ours=may_be_ours)
        waits = named_first and naming is None and not names.is_ours
        reading = Reading(names, partial(new_taker, naming), keep, guess=not source.once, waits=waits)
        return row_type({*names.heads(), *needed(asked, keep)})

    with COLLECTING.at(False):  # a million rows: nothing among them is garbage
        for batch in batches(source, shape, proof, progress):
            assert reading is not None  # noqa: S101  # its shape was asked for
            reading.title = batch.title
            reading.take(batch)
    if reading is None:
        raise no_tasks(source.where)
    if not reading.choose():
        known = reading.naming
        return read_tasks(source, new_taker, fields=fields, keep=keep, progress=progress, naming=known)
    reading.taker.finish(source.where, source.number)
    named = reading.naming.fields if reading.naming else COMMON
    named = msgspec.structs.replace(named, tasks_field=fields.tasks_field)
    reading.info = info_of(source.path, size=proof.size, sha256=proof.hexdigest(), types=reading.types, fields=named)
    return reading


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
