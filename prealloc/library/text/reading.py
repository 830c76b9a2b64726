"""Reads the tasks of a text in one pass: counts them, finds how they are named, and gives them to who wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Generic, Protocol, TypeVar

import msgspec

from prealloc.library.base import info_of
from prealloc.library.disk import Progress
from prealloc.library.naming import Column, Names, Naming, needed
from prealloc.library.rows import NOTHING, Counts, field_of, fields_of, row_type, texts_at
from prealloc.library.text.batch import Batch
from prealloc.library.text.batches import batches
from prealloc.library.text.refuse import no_tasks
from prealloc.library.text.sources import Proof, Source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, TYPE_SPELLINGS
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
        named = self._names.take(rows, lambda: batch.layout.texts)
        if self._names.is_ours:
            if len(named) < 2:
                raise batch.of_names()
            batch.refuse_twice(frozenset({*ID_SPELLINGS, *TYPE_SPELLINGS, "workflow", *self._keep}))
        else:
            batch.refuse_twice()
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
