"""Makes the index of a JSON library, in one pass: for its file, or for this process alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.atomic import write_pieces, writing
from prealloc.files.paths import index_places, readable_name
from prealloc.library.cache import DEFAULT_BYTES
from prealloc.library.disk import FileIdentity, Progress, head_of, open_library_file
from prealloc.library.packed.index import FORMAT, Indexed, TaskIndex
from prealloc.library.packed.table import Columns, ColumnsBuilder, Head, digest
from prealloc.library.text.batch import Batch
from prealloc.library.text.reading import read_tasks
from prealloc.library.text.sources import Proof, file_source
from prealloc.library.unpack import packing
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.words import quoted

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
    with open(open_library_file(library), "rb") as file:
        head, pieces, info = _indexed(library, file.fileno(), fields, progress)
    place = _put(index_places(library), [head.line(FORMAT), *pieces])
    return IndexMade(path=readable_name(str(place.absolute())), bytes=place.stat().st_size, info=info)


def index_in_memory(
    library: Path, *, keep: tuple[str, ...] = (), fields: Fields = COMMON, progress: Progress | None = None
) -> TaskIndex:
    """The same index for this process alone: any task of a file that is too large to be held. Raises LibraryError."""
    with open(open_library_file(library), "rb") as file:
        head, pieces, _ = _indexed(library, file.fileno(), fields, progress)
        columns = Columns(head, memoryview(b"".join(pieces)), FORMAT, str(library))
        return TaskIndex(library, columns, os.dup(file.fileno()), keep=keep, cache_bytes=DEFAULT_BYTES)


def _indexed(
    library: Path, descriptor: int, fields: Fields, progress: Progress | None
) -> tuple[Head[Indexed], list[memoryview], LibraryInfo]:
    """The head and the columns of the index of a library that is open, and the library's fingerprint."""
    before = FileIdentity.of(descriptor)
    if packing(os.pread(descriptor, 4, 0)) is not None:
        raise LibraryError(
            "a packed file cannot be indexed: reading a task needs everything before it",
            where=str(library),
            hint="unpack it, or convert it: prealloc library convert LIBRARY tasks.db",
        )
    # If the file changes from here on, either reading it tells, or the index does not fit it.
    source = file_source(library, descriptor)._replace(tasks_field=fields.tasks_field)
    read = read_tasks(source, lambda _: _Columns(), fields=fields, progress=progress)
    named = read.naming is not None or read.info.fields
    indexed = Indexed(
        **msgspec.structs.asdict(before),
        sha256=read.info.sha256,
        fields=(read.info.fields or COMMON) if named else None,
    )
    read.taker.counts = read.counts
    return *read.taker.pack(FORMAT, indexed), read.info


class _Columns(ColumnsBuilder):
    """Takes the tasks of a library into the columns of its index. Raises LibraryError for those that it cannot give."""

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None:
        if batch.key is not None:
            hint = "convert it: prealloc library convert LIBRARY tasks.db"
            raise LibraryError("an object of tasks by their ids cannot be indexed", where=batch.where, hint=hint)
        starts = [batch.origin.byte + start for start, _ in batch.layout.spans]
        texts = [memoryview(text) for text in batch.layout.texts]
        self.extend(ids, types, map(digest, texts), start=starts, length=map(len, texts))


def check_index(library: Path, *, progress: Progress | None = None) -> str:
    """Reads the whole library again and compares it with its index; gives its sha256. Raises LibraryError."""
    proof = Proof()
    with TaskIndex.open(library) as index:
        for _ in file_source(library).read(proof, progress):
            pass
    if proof.hexdigest() != index.info.sha256:
        raise FORMAT.damaged("its content is not what was indexed", str(library))
    return index.info.sha256


def _put(places: tuple[Path, Path], pieces: Iterable[bytes | memoryview]) -> Path:
    """Writes the index beside the library, or into the cache folder where that cannot be. Raises LibraryError."""
    beside, cached = places
    can_be_beside = os.access(beside.parent, os.W_OK) and len(os.fsencode(beside.name)) <= _LONGEST_NAME
    place, other = (beside, cached) if can_be_beside else (cached, beside)
    with writing(place, LibraryError, otherwise="see that a file can be made there"):
        if aside := moved_aside(place):
            problem, hint = "this is not an index, and would be replaced", f"move it out of the way: {aside}"
            raise LibraryError(problem, where=str(place), hint=hint)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_pieces(place, pieces)
    if _is_index(other):
        with contextlib.suppress(OSError):  # it does not fit any more, and is left aside
            os.unlink(other)
    return place


def moved_aside(place: Path) -> str | None:
    """The command that makes room for an index, where something else lies; None where that need not be."""
    if _is_index(place) or not (place.is_dir() or head_of(place, 1)):
        return None
    return f"mv {quoted(place)} {quoted(f'{place}.aside')}"


def _is_index(place: Path) -> bool:
    """Whether a file is one of ours, be it damaged: one changed byte does not hide both words."""
    head = head_of(place, 32)
    return b'"format"' in head or b"prealloc-index" in head
