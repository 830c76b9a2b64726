"""Makes the index of a JSON library, in one pass: for its file, or for this process alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.atomic import write_pieces, writing
from prealloc.files.paths import index_places, readable_name
from prealloc.library.base import Progress, info_of
from prealloc.library.disk import FileIdentity, changed_meanwhile, head_of, open_library_file, pieces_of
from prealloc.library.duplicate_ids import refuse_duplicates_among, sorted_positions
from prealloc.library.naming import Naming, info_with, is_ours, workflow_in
from prealloc.library.packed.index import FORMAT, TaskIndex, parse_index
from prealloc.library.packed.table import MOST_TEXT, ColumnsBuilder, Span, digest
from prealloc.library.rows import row_types
from prealloc.library.shortlist import Nothing
from prealloc.library.storing.stored import Counts
from prealloc.library.text.batches import Batch, batches
from prealloc.library.text.library import read_text
from prealloc.library.text.refuse import no_tasks
from prealloc.library.text.sources import Source, file_source
from prealloc.library.unpack import packing
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo

_LONGEST_NAME = 240


class IndexMade(msgspec.Struct, frozen=True, kw_only=True):
    """What `make_index` made."""

    path: str
    bytes: int
    info: LibraryInfo


def make_index(library: Path, *, fields: Fields = COMMON, progress: Progress | None = None) -> IndexMade:
    """Reads an uncompressed JSON library once and puts its index beside it, or into the cache folder.

    Raises LibraryError for what is not a library, or is packed: then single tasks cannot be read.
    """
    packed, info = _indexed(library, fields, progress)
    place = _put(index_places(library), packed)
    return IndexMade(path=readable_name(str(place.absolute())), bytes=place.stat().st_size, info=info)


def index_in_memory(
    library: Path,
    *,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    fields: Fields = COMMON,
    progress: Progress | None = None,
) -> TaskIndex:
    """The same index for this process alone: any task of a file that is too large to be held. Raises LibraryError."""
    packed, _ = _indexed(library, fields, progress)
    columns, indexed = parse_index(b"".join(packed), str(library))
    descriptor = open_library_file(library)
    if not indexed.is_of(descriptor):
        os.close(descriptor)
        raise changed_meanwhile(str(library))
    return TaskIndex(library, columns, indexed, descriptor, difficulty=difficulty, keep=keep)


def _indexed(
    library: Path, fields: Fields, progress: Progress | None
) -> tuple[Iterator[bytes | memoryview], LibraryInfo]:
    """The index of a library as the pieces of its file, and the library's fingerprint."""
    where = str(library)
    descriptor = open_library_file(library)
    builder, hashed, counts = ColumnsBuilder(), hashlib.sha256(), Counts(0, 0, 0)
    try:
        before = FileIdentity.of(descriptor)
        if packing(os.pread(descriptor, 4, 0)) is not None:
            raise LibraryError(
                "a packed file cannot be indexed: reading a task needs everything before it",
                where=where,
                hint="unpack it, or convert it: prealloc library convert LIBRARY tasks.db",
            )
        source = file_source(library, descriptor)
        naming = None

        def shapes(first: Batch) -> tuple[type, ...]:
            nonlocal naming
            naming = _naming(source, first, fields)
            return row_types(()) if naming is None else (dict[str, msgspec.Raw],)

        for batch in batches(source, shapes, hashed.update, progress):
            if naming is None:
                ids, types = batch.names()
                counts.add(batch.rows)
            else:
                batch.refuse_twice()
                ids, types = naming.take(batch.rows, batch.texts)
                counts.without_workflow += sum(workflow_in(task, naming.fields) is None for task in batch.rows)
            builder.add(ids, types, _spans(batch, where))
        if not len(builder):
            raise no_tasks(where)
        if not before.is_of(descriptor):
            raise changed_meanwhile(str(library))
    finally:
        os.close(descriptor)
    order = sorted_positions(builder.hash)
    refuse_duplicates_among(builder.hash, order, builder.id, where)
    builder.sort(order)
    said = {**msgspec.structs.asdict(before), "sha256": hashed.hexdigest()}
    info = info_of(library, size=before.bytes, sha256=said["sha256"], types=builder.of_each_type())
    if naming is not None:
        said["fields"] = msgspec.to_builtins(naming.fields)
        info = info_with(info, naming.fields)
    return builder.pack(FORMAT, said, counts), info


def _naming(source: Source, first: Batch, fields: Fields) -> Naming | None:
    """How the tasks are named, which a look at all of them tells; None if they are spelled as ours are."""
    if first.key is not None:
        hint = "convert it: prealloc library convert LIBRARY tasks.db"
        raise LibraryError("an object of tasks by their ids cannot be indexed", where=source.where, hint=hint)
    if fields == COMMON and is_ours(first.first()):
        return None
    naming = read_text(source, Nothing, fields=fields).naming
    return None if naming is None else naming.again()


def check_index(library: Path, *, progress: Progress | None = None) -> TaskIndex:
    """Reads the whole library again and compares it with its index. Raises LibraryError if they differ."""
    index = TaskIndex.open(library)
    hashed = hashlib.sha256()
    descriptor = open_library_file(library)
    try:
        for piece in pieces_of(descriptor, str(library), hashed.update, progress):
            del piece
    finally:
        os.close(descriptor)
    if hashed.hexdigest() != index.info.sha256:
        raise FORMAT.damaged("its content is not what was indexed", str(library))
    return index


def _spans(batch: Batch, where: str) -> Iterator[Span]:
    """Where each task of a batch lies in the file."""
    for (start, length), text in zip(batch.layout.spans, batch.texts(), strict=True):
        if length > MOST_TEXT:
            raise LibraryError("a task is larger than 4 GB", where=where, hint="leave it out")
        yield Span(batch.origin.byte + start, length, digest(memoryview(text)))


def _put(places: tuple[Path, Path], pieces: Iterator[bytes | memoryview]) -> Path:
    """Writes the index beside the library, or into the cache folder where that cannot be. Raises LibraryError."""
    beside, cached = places
    place = beside if os.access(beside.parent, os.W_OK) and len(os.fsencode(beside.name)) <= _LONGEST_NAME else cached
    with writing(place, LibraryError, otherwise="see that a file can be made there"):
        if place.is_dir() or not (_is_index(place) or head_of(place, 1) == b""):
            raise LibraryError(
                "this is not an index, and would be replaced", where=str(place), hint="move it out of the way"
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
