"""Reads the tasks of a text in one pass: counts them, finds how they are named, and gives them to who wants them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Generic, NamedTuple, Protocol, TypeVar

from msgspec import Raw

from prealloc.library.base import Progress, fields_of, without_gc
from prealloc.library.naming import Column, Names, Naming, is_ours
from prealloc.library.rows import any_has, row_type
from prealloc.library.storing.stored import Counts
from prealloc.library.text.batches import Batch, batches
from prealloc.library.text.refuse import no_tasks
from prealloc.library.text.sources import Source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD


class Taker(Protocol):
    """Takes the tasks of a library, batch by batch, by one pair of names."""

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None: ...

    def finish(self, where: str) -> None:
        """Raises LibraryError for an id that is there twice."""

    def of_each_type(self) -> Mapping[str, int]:
        """How many tasks of each type were taken."""


T = TypeVar("T", bound=Taker)


class Reading(NamedTuple, Generic[T]):
    """What was read."""

    taker: T
    """Has taken the tasks by the names that were chosen."""
    info: LibraryInfo
    counts: Counts
    kept: set[str]
    """The fields to keep that any task has."""
    naming: Naming | None
    """How the tasks are named; None in a library that is spelled as ours are."""
    shape: type
    """What its tasks were decoded as."""


def read_tasks(
    source: Source,
    new_taker: Callable[[], T],
    *,
    fields: Fields = COMMON,
    keep: tuple[str, ...] = (),
    difficulty: str | None = None,
    progress: Progress | None = None,
) -> Reading[T]:
    """Reads a library once. Raises LibraryError, with file, place and hint, for whatever is none.

    A taker gets tasks that are spelled as ours are. Of others the names are known at the end, and each pair of fields
    that may be the names has a taker until then.
    """
    size, sha256 = 0, hashlib.sha256()
    reader: _Ours[T] | _Named[T] | None = None

    def hashed(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        sha256.update(piece)

    def shape(first: Batch) -> type:
        nonlocal reader
        text = first.first()
        if fields == COMMON and first.key is None and is_ours(text):
            reader = _Ours(new_taker, keep)
        else:
            reader = _Named(new_taker, keep, Names(fields, fields_of(text), source.where))
        return reader.shape

    with without_gc():  # a million rows: nothing among them is garbage
        for batch in batches(source, shape, hashed, progress):
            assert reader is not None  # noqa: S101  # its shape was asked for
            reader.take(batch)
    if reader is None:
        raise no_tasks(source.where)
    taker, naming = reader.end()
    taker.finish(source.where)
    info = source.info(
        size=size,
        sha256=sha256.hexdigest(),
        types=taker.of_each_type(),
        difficulty=difficulty,
        fields=COMMON if naming is None else naming.fields,
    )
    return Reading(taker, info, reader.counts, reader.kept, naming, reader.shape)


class _Reader(ABC, Generic[T]):
    shape: type

    def __init__(self, keep: tuple[str, ...]) -> None:
        self._keep = keep
        self.counts = Counts(0, 0, 0)
        self.kept: set[str] = set()

    @abstractmethod
    def take(self, batch: Batch) -> None: ...

    @abstractmethod
    def end(self) -> tuple[T, Naming | None]: ...


class _Ours(_Reader[T]):
    """Reads tasks that are spelled as ours are."""

    def __init__(self, new_taker: Callable[[], T], keep: tuple[str, ...]) -> None:
        super().__init__(keep)
        self.shape = row_type(keep)
        self._taker = new_taker()

    def take(self, batch: Batch) -> None:
        ids, types = batch.names(self._keep)
        self.counts.add(batch.rows)
        unseen = ((i, name) for i, name in enumerate(self._keep) if name not in {*self.kept, EVERY_FIELD})
        self.kept |= {name for i, name in unseen if any_has(batch.rows, i, name)}
        self._taker.add(ids, types, batch)

    def end(self) -> tuple[T, None]:
        return self._taker, None


class _Named(_Reader[T]):
    """Reads tasks by every pair of columns that may name them."""

    shape = dict[str, Raw]

    def __init__(self, new_taker: Callable[[], T], keep: tuple[str, ...], names: Names) -> None:
        super().__init__(keep)
        self._names = names
        self._takers: dict[tuple[Column, Column], T] = {pair: new_taker() for pair in product(names.ids, names.types)}

    def take(self, batch: Batch) -> None:
        tasks = batch.rows
        batch.refuse_twice()
        named = self._names.take(tasks, batch.texts)
        self._takers = {pair: taker for pair, taker in self._takers.items() if named.keys() >= {*pair}}
        for (ids, types), taker in self._takers.items():
            taker.add(named[ids], named[types], batch)
        self.counts.tasks += len(tasks)
        self.counts.without_workflow += sum(not self._names.has_workflow(task) for task in tasks)
        self.kept |= {name for name in {*self._keep} - self.kept if any(name in task for task in tasks)}

    def end(self) -> tuple[T, Naming]:
        naming = self._names.chosen()
        return self._takers[naming.ids, naming.types], naming
