"""A library that was read once and not kept: the tasks that a plan may choose, and the numbers of all the others."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.base import Facts, Library, Progress, without_gc
from prealloc.library.duplicate_ids import duplicate_ids, equal_hashes, sorted_positions
from prealloc.library.naming import Column, Names, Naming, info_with, is_ours
from prealloc.library.rows import AnyRow, any_has, row_types
from prealloc.library.shortlist import Everything, Shortlist
from prealloc.library.storing.stored import Counts
from prealloc.library.text.batches import Batch, batches
from prealloc.library.text.refuse import no_tasks
from prealloc.library.text.sources import LINES, Source
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD
from prealloc.model.task import LightweightTask
from prealloc.model.task_hash import stable_hashes

_HELD = 64 << 20
"""Of so many bytes at the beginning of a library, what is mostly wanted is held as it is."""

_LARGE_TASK = 1024
# Smaller ones are decoded again when they are asked for: a decoded one takes more memory than its text.


class TextLibrary(Library):
    """What was held of a text: `ids`, `types` and tasks are those that may be chosen, `info` counts all."""

    def __init__(
        self, source: Source, shapes: tuple[type, ...], info: LibraryInfo, tasks: _Tasks, keep: tuple[str, ...]
    ) -> None:
        self._source = source
        self._shapes = shapes
        self._held = tasks.held()
        self._kept = tasks.kept
        self.naming = tasks.naming
        """How the tasks are named; None in a library that is spelled as ours are."""
        if self.naming is not None:
            info = info_with(info, self.naming.fields)
            self.note = self.naming.note
        ids, types = ([getattr(task, name) for task in self._held] for name in ("id", "type"))
        self.way = "json" if len(ids) == info.tasks and source.name != LINES else "stream"
        super().__init__(Facts(info, ids, types, tasks.counts, keep))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        for task in map(self._held.__getitem__, positions):
            yield bytes(task.text) if self.naming is None else self.naming.own(task.text, task.id, task.type)

    def _tasks(self, positions: Iterable[int]) -> Iterator[LightweightTask]:
        for position in positions:
            task = self._held[position]
            if task.row is None or self._keeps_all:
                yield from super()._tasks([position])
            else:
                yield self._made(position, task.row)

    def absent(self, names: Iterable[str]) -> set[str]:
        return set(names) - self._kept

    def _place(self, position: int, raw: bytes = b"", offset: int = 0) -> str:
        task = self._held[position]
        place = f"{self._source.where}, task {task.number} (id {ascii(task.id)[:80]})"
        if self._source.once or self._source.name == LINES:  # which were made of something else
            return place
        with suppress(LibraryError):  # it was changed since
            for batch in batches(self._source, lambda first: self._shapes, lambda piece: None):
                if task.number < batch.origin.task + len(batch.rows):
                    start, _ = batch.layout.spans[task.number - batch.origin.task]
                    byte = batch.origin.byte + start + max(0, bytes(task.text).find(raw)) + offset
                    return f"{place}, byte {byte}, line {self._source.line_of(byte) + 1}"
        return place


class _Held(msgspec.Struct, frozen=True, gc=False):
    number: int
    """Of all tasks, from 0."""
    id: str
    type: str
    text: bytes | Raw
    row: AnyRow | None
    """The task decoded, where its text is held anyway."""


def read_text(
    source: Source,
    shortlist: Callable[[], Shortlist] = Everything,
    *,
    fields: Fields = COMMON,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    progress: Progress | None = None,
    copies: bool = False,
) -> TextLibrary:
    """Reads a library once, in memory for the tasks of the shortlist and 12 bytes for each of the others.

    Unless `copies`, what lies among many tasks that are wanted is held with them, which is quicker, at the beginning.
    Raises LibraryError, with file, place and hint, for whatever is none.
    """
    hashed = _Hashed()
    reader: _Ours | _Named | None = None

    def shapes(first: Batch) -> tuple[type, ...]:
        nonlocal reader
        ours = fields == COMMON and first.key is None and is_ours(first.first())
        reader = (_Ours if ours else _Named)(source.where, lambda: _Tasks(shortlist(), copies=copies), keep, fields)
        return reader.shapes

    with without_gc():  # a million rows: nothing among them is garbage
        for batch in batches(source, shapes, hashed.note, progress):
            assert reader is not None  # noqa: S101  # its shapes were asked for
            reader.take(batch)
    if reader is None:
        raise no_tasks(source.where)
    tasks = reader.end()
    tasks.finish(source.where)
    info = source.info(size=hashed.bytes, sha256=hashed.sha256.hexdigest(), types=tasks.types, difficulty=difficulty)
    return TextLibrary(source, reader.shapes, info, tasks, keep)


class _Hashed:
    """The bytes of a source, as they are on the disk."""

    def __init__(self) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def note(self, piece: bytes) -> None:
        self.bytes += len(piece)
        self.sha256.update(piece)


class _Tasks:
    """The tasks that went by under one pair of names. Lets go of what cannot be chosen any more."""

    def __init__(self, shortlist: Shortlist, *, copies: bool) -> None:
        self._shortlist = shortlist
        self._copies = copies
        self._keeps_all = shortlist.held() is None
        self._held: list[_Held] = []
        self._pruned = 0
        self.hashes = array("Q")
        self.types: Counter[str] = Counter()
        self.counts = Counts(0, 0, 0)
        self.kept: set[str] = set()
        """The fields to keep that a task had so far."""
        self.naming: Naming | None = None

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None:
        first, hashes = len(self.hashes), stable_hashes(ids)
        self.hashes.extend(hashes)
        self.types.update(types)
        wanted, layout = self._shortlist.offer(hashes, types), batch.layout
        whole = self._keeps_all or self._is_worth_holding(batch, wanted)
        for place in wanted:
            text = layout.texts[place]
            row = batch.rows[place] if whole and len(memoryview(text)) >= _LARGE_TASK else None
            self._held.append(
                _Held(
                    number=first + place,
                    id=ids[place],
                    type=sys.intern(types[place]),
                    text=text if whole else bytes(text),
                    row=None if isinstance(row, dict) else row,
                )
            )
        if len(self._held) > 2 * self._pruned:
            self._held = self.held()
            self._pruned = len(self._held)

    def _is_worth_holding(self, batch: Batch, wanted: Sequence[int]) -> bool:
        """Whether the text of a batch is kept for its tasks, in place of a copy of each."""
        size = sum(len(memoryview(batch.layout.texts[place])) for place in wanted)
        return not self._copies and batch.origin.byte < _HELD and 2 * size >= len(batch.text)

    def finish(self, where: str) -> None:
        """Raises LibraryError if there was no task, or an id twice."""
        if not self.hashes:
            raise no_tasks(where)
        groups = equal_hashes(self.hashes, sorted_positions(self.hashes))
        if groups:
            # 64 bits of 10 million ids collide once in 370,000 libraries: what is equal here is the same id.
            ids = {task.number: task.id for task in self._held}
            names = (next((ids[at] for at in group if at in ids), None) for group in groups)
            raise duplicate_ids(list(zip(names, groups, strict=True)), where)

    def held(self) -> list[_Held]:
        """The tasks that may still be chosen."""
        keep = self._shortlist.held()
        return self._held if keep is None else [task for task in self._held if task.number in keep]


class _Ours:
    """Reads tasks that are spelled as ours are."""

    def __init__(self, where: str, tasks: Callable[[], _Tasks], keep: tuple[str, ...], fields: Fields) -> None:
        self.shapes: tuple[type, ...] = row_types(keep)
        self._keep = keep
        self._tasks = tasks()

    def take(self, batch: Batch) -> None:
        tasks = self._tasks
        ids, types = batch.names(self._keep)
        tasks.counts.add(batch.rows)
        unseen = ((i, name) for i, name in enumerate(self._keep) if name not in {*tasks.kept, EVERY_FIELD})
        tasks.kept |= {name for i, name in unseen if any_has(batch.rows, i, name)}
        tasks.add(ids, types, batch)

    def end(self) -> _Tasks:
        return self._tasks


class _Named:
    """Reads tasks by every pair of columns that may name them."""

    shapes = (dict[str, Raw],)

    def __init__(self, where: str, tasks: Callable[[], _Tasks], keep: tuple[str, ...], fields: Fields) -> None:
        self._where = where
        self._new_tasks = tasks
        self._keep = keep
        self._fields = fields
        self._names: Names | None = None
        self._tasks: dict[tuple[Column, Column], _Tasks] = {}
        self._counts = Counts(0, 0, 0)
        self._kept: set[str] = set()

    def take(self, batch: Batch) -> None:
        tasks = batch.rows
        batch.refuse_twice()
        if self._names is None:
            self._names = Names(self._fields, tasks[0], self._where)
            self._tasks = {pair: self._new_tasks() for pair in product(self._names.ids, self._names.types)}
        named = self._names.take(tasks, batch.texts)
        self._tasks = {(ids, types): mine for (ids, types), mine in self._tasks.items() if {ids, types} <= named.keys()}
        for (ids, types), mine in self._tasks.items():
            mine.add(named[ids], named[types], batch)
        self._counts.tasks += len(tasks)
        self._counts.without_workflow += sum(self._names.workflow_of(task) is None for task in tasks)
        self._kept |= {name for name in {*self._keep} - self._kept if any(name in task for task in tasks)}

    def end(self) -> _Tasks:
        assert self._names is not None  # noqa: S101  # there was a batch, and so a task
        naming = self._names.chosen()
        tasks = self._tasks[naming.ids, naming.types]
        tasks.counts, tasks.kept, tasks.naming = self._counts, self._kept, naming
        return tasks
