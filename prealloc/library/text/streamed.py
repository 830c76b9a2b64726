"""A library that was read once and not kept: the tasks that a plan may choose, and the numbers of all the others."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from prealloc.library.base import Progress, info_of
from prealloc.library.disk import open_library_file, pieces_of
from prealloc.library.duplicate_ids import duplicate_ids, equal_hashes, sorted_positions
from prealloc.library.rows import any_has
from prealloc.library.storing.stored import Counts, Facts, StoredLibrary
from prealloc.library.text.read import no_tasks, scan
from prealloc.library.text.stream import Batch, batches
from prealloc.library.unpack import unpack_stream
from prealloc.model.spelling import EVERY_FIELD
from prealloc.model.task_hash import stable_hashes

STDIN = Path("-")
"""In place of a path: standard input."""


class Shortlist(Protocol):
    """Tells which tasks may still be chosen while they go by; see planning/shortlist.py."""

    def offer(self, hashes: Sequence[int], types: Sequence[str]) -> list[int]:
        """Which of these tasks, by their places in the arguments, must be held."""

    def held(self) -> set[int]:
        """Which of all the tasks so far, counted from 0, must still be held."""


class StreamedLibrary(StoredLibrary):
    """What is left of a stream: `ids`, `types` and tasks are those that may be chosen, `info` tells of all."""

    way = "stream"

    def __init__(self, facts: Facts, tasks: list[_Held], kept: set[str]) -> None:
        super().__init__(facts)
        self._texts = [task.text for task in tasks]
        self._kept = kept

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return (self._texts[position] for position in positions)

    def absent(self, names: Iterable[str]) -> set[str]:
        return set(names) - self._kept


class _Held(msgspec.Struct, frozen=True, gc=False):
    id: str
    type: str
    text: bytes


def read_stream(
    source: Path,
    shortlist: Shortlist,
    *,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> StreamedLibrary:
    """Reads a JSON library once, in memory for the tasks of the shortlist and 12 bytes for each of the others.

    `source` is a file, plain or packed, or `STDIN`. Raises LibraryError, as reading it whole would.
    """
    where = str(source) if source != STDIN else "standard input"
    descriptor = _open(source)
    reader = _Reader(shortlist, keep, where)
    try:
        pieces = pieces_of(descriptor, where, reader.note, progress)
        for batch in batches(unpack_stream(pieces, where), source.name, where):
            reader.take(batch)
    finally:
        if source != STDIN:
            os.close(descriptor)
    reader.finish()
    info = info_of(
        source, size=reader.bytes, sha256=reader.sha256.hexdigest(), types=reader.types, difficulty=difficulty
    )
    if source == STDIN:
        info = msgspec.structs.replace(info, path="-")
    tasks = reader.tasks()
    facts = Facts(info, [task.id for task in tasks], [task.type for task in tasks], reader.counts, keep)
    return StreamedLibrary(facts, tasks, reader.kept)


class _Reader:
    """Takes batch after batch, and lets go of what cannot be chosen any more."""

    def __init__(self, shortlist: Shortlist, keep: tuple[str, ...], where: str) -> None:
        self._shortlist = shortlist
        self._keep = keep
        self._where = where
        self._held: dict[int, _Held] = {}
        self._pruned = 0
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.hashes = array("Q")
        self.types: Counter[str] = Counter()
        self.counts = Counts(0, 0, 0)
        self.kept: set[str] = set()
        """The fields to keep that a task had so far."""

    def note(self, piece: bytes) -> None:
        """Some bytes of the file, as they are on the disk."""
        self.bytes += len(piece)
        self.sha256.update(piece)

    def take(self, batch: Batch) -> None:
        first = len(self.hashes)
        rows, ids, types = scan(batch.fmt, batch.text, self._keep, batch.diagnosis(self._where, first))
        hashes = stable_hashes(ids)
        self.hashes.extend(hashes)
        self.types.update(types)
        self.counts.add(rows)
        unseen = ((i, name) for i, name in enumerate(self._keep) if name not in {*self.kept, EVERY_FIELD})
        self.kept |= {name for i, name in unseen if any_has(rows, i, name)}
        wanted = self._shortlist.offer(hashes, types)
        if wanted:
            raws = batch.fmt.tasks(batch.text, msgspec.Raw)
            for place in wanted:
                self._held[first + place] = _Held(ids[place], sys.intern(types[place]), bytes(raws[place]))
        if len(self._held) > 2 * self._pruned:
            keep = self._shortlist.held()
            self._held = {position: task for position, task in self._held.items() if position in keep}
            self._pruned = len(self._held)

    def finish(self) -> None:
        """Raises LibraryError if there was no task, or an id twice."""
        if not self.hashes:
            raise no_tasks(self._where)
        groups = equal_hashes(self.hashes, sorted_positions(self.hashes))
        if groups:
            # 64 bits of 10 million ids collide once in 370,000 libraries: what is equal here is the same id.
            names = (next((self._held[at].id for at in group if at in self._held), None) for group in groups)
            raise duplicate_ids(list(zip(names, groups, strict=True)), self._where)

    def tasks(self) -> list[_Held]:
        keep = self._shortlist.held()
        return [task for position, task in self._held.items() if position in keep]


def _open(source: Path) -> int:
    if source != STDIN:
        return open_library_file(source)
    with contextlib.suppress(OSError):  # closed: reading it tells
        os.set_blocking(0, True)  # whoever shares it may have set it otherwise
    return 0
