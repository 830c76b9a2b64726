"""Makes the index of a JSON library, in one pass: for its file, or for this process alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.atomic import write_pieces, writing
from prealloc.files.paths import index_places
from prealloc.library.base import Progress, has_two_ids, is_null, told
from prealloc.library.disk import changed_meanwhile, head_of, open_library_file, pieces_of
from prealloc.library.equal_ids import equal_hashes, refuse_equal_ids
from prealloc.library.packed.index import AGAIN, FORMAT, VERSION, Identity, TaskIndex, parse_index
from prealloc.library.packed.table import MOST_TEXT, ColumnsBuilder, Span, digest, sorted_positions
from prealloc.library.text.lines import Lines
from prealloc.library.text.read import no_tasks, scan
from prealloc.library.text.stream import Batch, batches
from prealloc.library.unpack import packing
from prealloc.model.plan import LibraryInfo

_LONGEST_NAME = 240
_BETWEEN = re.compile(rb"[ \t\n\r,]*")


class IndexMade(msgspec.Struct, frozen=True, kw_only=True):
    """What `make_index` made."""

    path: str
    bytes: int
    info: LibraryInfo


def make_index(library: Path, *, progress: Progress | None = None) -> IndexMade:
    """Reads an uncompressed JSON library once and puts its index beside it, or into the cache folder.

    Raises LibraryError for what is no library, or a packed one, of which no task can be read by itself.
    """
    packed, info = _indexed(library, progress)
    place = _put(index_places(library), packed)
    return IndexMade(path=told(place)[0], bytes=place.stat().st_size, info=info)


def index_in_memory(
    library: Path, *, difficulty: str | None = None, keep: tuple[str, ...] = (), progress: Progress | None = None
) -> TaskIndex:
    """The same index for this process alone: any task of a file that is too large to be held. Raises LibraryError."""
    packed, _ = _indexed(library, progress)
    columns, identity = parse_index(b"".join(packed), str(library))
    descriptor, stat = open_library_file(library)
    if not identity.is_of(stat):
        os.close(descriptor)
        raise changed_meanwhile(str(library))
    return TaskIndex(library, columns, identity, descriptor, difficulty=difficulty, keep=keep)


def _indexed(library: Path, progress: Progress | None) -> tuple[Iterator[bytes | memoryview], LibraryInfo]:
    """The index of a library as the pieces of its file, and the library's fingerprint."""
    where = str(library)
    descriptor, stat = open_library_file(library)
    builder, hashed = ColumnsBuilder(), hashlib.sha256()
    without = two = 0
    try:
        if packing(os.pread(descriptor, 4, 0)) is not None:
            raise LibraryError(
                "a packed file has no index: nothing in it can be read without what is before it",
                where=where,
                mend="unpack it, or convert it: prealloc library convert LIBRARY tasks.db",
            )
        for batch in batches(pieces_of(descriptor, where, hashed.update, progress), library.name, where):
            rows, ids, types = scan(batch.fmt, batch.text, (), batch.diagnosis(where, len(builder)))
            builder.add(ids, types, _spans(batch, where))
            without += sum(map(is_null, rows))
            two += sum(map(has_two_ids, rows))
        if not len(builder):
            raise no_tasks(where)
        identity = Identity.of(stat, hashed.hexdigest())
        if not identity.is_of(os.fstat(descriptor)):
            raise changed_meanwhile(str(library))
    finally:
        os.close(descriptor)
    order = sorted_positions(builder.hash)
    refuse_equal_ids(builder.id, equal_hashes(builder.hash, order), where)
    builder.sort(order)
    said: dict[str, Any] = msgspec.to_builtins(identity)
    path_told, name = told(library)
    info = LibraryInfo(
        path=path_told,
        name=name,
        bytes=identity.bytes,
        sha256=identity.sha256,
        tasks=len(builder),
        types=builder.counts(),
    )
    return builder.pack(FORMAT, VERSION, said, without_workflow=without, two_ids=two), info


def check_index(library: Path, *, progress: Progress | None = None) -> TaskIndex:
    """Reads the whole library again and compares it with its index. Raises LibraryError if they differ."""
    index = TaskIndex.open(library)
    hashed = hashlib.sha256()
    descriptor, _ = open_library_file(library)
    try:
        for piece in pieces_of(descriptor, str(library), hashed.update, progress):
            del piece
    finally:
        os.close(descriptor)
    if hashed.hexdigest() != index.identity.sha256:
        raise LibraryError("its content is not what was indexed", where=str(library), mend=AGAIN)
    return index


def _spans(batch: Batch, where: str) -> Iterator[Span]:
    """Where each task of a batch lies in the file."""
    text, at = batch.text, 0 if isinstance(batch.fmt, Lines) else 1  # behind the bracket
    first, between = batch.origin.byte, _BETWEEN.match
    for raw in [memoryview(task) for task in batch.fmt.tasks(text, msgspec.Raw)]:
        gap = between(text, at)
        start = gap.end() if gap else at
        if len(raw) > MOST_TEXT:
            raise LibraryError("a task is larger than 4 GB", where=where, mend="leave it out")
        yield Span(first + start, len(raw), digest(raw))
        at = start + len(raw)


def _put(places: tuple[Path, Path], pieces: Iterator[bytes | memoryview]) -> Path:
    """Writes the index beside the library, or into the cache folder where that cannot be. Raises LibraryError."""
    beside, cached = places
    place = beside if os.access(beside.parent, os.W_OK) and len(os.fsencode(beside.name)) <= _LONGEST_NAME else cached
    with writing(place, LibraryError, otherwise="see that a file can be made there"):
        if place.is_dir() or not (_is_index(place) or head_of(place, 1) == b""):
            raise LibraryError(
                "this is no index, and would be replaced", where=str(place), mend="move it out of the way"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        write_pieces(place, pieces)
    for other in {beside, cached} - {place}:
        if _is_index(other):
            with contextlib.suppress(OSError):  # it does not fit any more, and is left aside
                os.unlink(other)
    return place


def _is_index(place: Path) -> bool:
    """Whether a file is one of ours, be it damaged: one changed byte does not hide both words."""
    head = head_of(place, 32)
    return b'"format"' in head or b"prealloc-index" in head
