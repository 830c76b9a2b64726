"""An index of a library file: who its tasks are and where each lies, so that one is read without the rest.

It lies beside the library (`tasks.json.index`), or in the user's cache folder. It is trusted while the file has the
device, inode, size and time of change that it had; and whatever is read by it is checked against the digest of
that very task, so that a change nobody noticed gives an error and never another task.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.atomic import write_pieces
from prealloc.files.paths import index_places
from prealloc.library.base import Progress, has_two_ids, is_null
from prealloc.library.cache import DEFAULT_BYTES, CacheInfo, TaskCache
from prealloc.library.disk import open_library_file, pieces_of, read_file
from prealloc.library.packed.library import PackedLibrary
from prealloc.library.packed.table import (
    MOST_TEXT,
    Columns,
    ColumnsBuilder,
    Span,
    digest,
    equal_hashes,
    sorted_positions,
)
from prealloc.library.text.lines import Lines
from prealloc.library.text.read import no_tasks, scan
from prealloc.library.text.stream import Batch, batches
from prealloc.library.unpack import packing
from prealloc.model.plan import LibraryInfo
from prealloc.model.task import LightweightTask

FORMAT = "prealloc-index"
VERSION = 1
_BETWEEN = re.compile(rb"[ \t\n\r,]*")
_AGAIN = "make it again: prealloc library index LIBRARY"


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that an index is of: by what the system says of it, and by its content."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int
    sha256: str

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether the system says the same of a file."""
        return (self.device, self.inode, self.bytes, self.mtime_ns) == (
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_mtime_ns,
        )


class TaskIndex(PackedLibrary):
    """A library file with its index. `index[id]` and `index.random_task(type, seed)` read one task each.

    What was read is kept, up to `cache_bytes`, least lately used first out. Close it, or use `with`.
    """

    def __init__(
        self,
        library: Path,
        columns: Columns,
        identity: Identity,
        descriptor: int,
        *,
        difficulty: str | None = None,
        keep: tuple[str, ...] = (),
        cache_bytes: int = DEFAULT_BYTES,
    ) -> None:
        super().__init__(
            columns, library, size=identity.bytes, sha256=identity.sha256, difficulty=difficulty, keep=keep
        )
        self.identity = identity
        self._descriptor = descriptor
        self._cache = TaskCache(cache_bytes)

    @classmethod
    def open(
        cls,
        library: str | Path,
        *,
        difficulty: str | None = None,
        keep: tuple[str, ...] = (),
        cache_bytes: int = DEFAULT_BYTES,
    ) -> TaskIndex:
        """The index of a library file, where there is one that fits. Raises LibraryError."""
        path = Path(library)
        found = [place for place in index_places(path) if os.path.lexists(place)]
        if not found:
            raise LibraryError("it has no index", where=str(path), mend=f"make one: prealloc library index {path}")
        descriptor, stat = open_library_file(path)
        try:
            for place in found:
                columns, identity = read_index(place)
                if identity.is_of(stat):
                    return cls(
                        path, columns, identity, descriptor, difficulty=difficulty, keep=keep, cache_bytes=cache_bytes
                    )
            raise LibraryError("the library was changed since it was indexed", where=str(found[0]), mend=_AGAIN)
        except BaseException:
            os.close(descriptor)
            raise

    def __getitem__(self, id: str) -> LightweightTask:
        return self._cache.get(self.position(id), self.task)

    def random_task(self, type: str | None = None, seed: int = 0) -> LightweightTask:
        """A task of a type (None: of any), the same for the same seed in whatever order the library is.

        Raises KeyError for a type that the library does not have.
        """
        return self._cache.get(self.random_position(type, seed), self.task)

    @property
    def cache(self) -> CacheInfo:
        """How often what was asked for had been read before."""
        return self._cache.info

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        for position in positions:
            start, length, _ = self.columns.place(position)
            text = os.pread(self._descriptor, length, start)
            if len(text) != length or digest(text) != self.columns.digest(position):
                raise LibraryError(
                    "the library was changed since it was indexed", where=self._place(position), mend=_AGAIN
                )
            yield text

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # one that was never made whole
            self.close()


def read_index(place: Path) -> tuple[Columns, Identity]:
    """The columns of an index file, and the library that it is of. Raises LibraryError if a byte is not as written."""
    columns = Columns(read_file(place), FORMAT, VERSION, str(place), mend=_AGAIN)
    try:
        return columns, msgspec.convert(columns.head.said, Identity)
    except msgspec.ValidationError as error:
        raise LibraryError(f"it does not say of which file it is: {error}", where=str(place), mend=_AGAIN) from None


class IndexMade(msgspec.Struct, frozen=True, kw_only=True):
    """What `make_index` made."""

    path: str
    bytes: int
    info: LibraryInfo


def make_index(library: Path, *, progress: Progress | None = None) -> IndexMade:
    """Reads an uncompressed JSON library once and puts its index beside it, or into the cache folder.

    Raises LibraryError for what is no library, or a packed one, of which no task can be read by itself.
    """
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
        for batch in batches(pieces_of(descriptor, hashed.update, progress), library.name, where):
            batch = batch._replace(origin=batch.origin._replace(task=len(builder)))
            rows, ids, types = scan(batch.fmt, batch.text, (), batch.diagnosis(where))
            builder.add(ids, types, _spans(batch, where))
            without += sum(map(is_null, rows))
            two += sum(map(has_two_ids, rows))
        if not len(builder):
            raise no_tasks(where)
        if not _same(os.fstat(descriptor), stat):
            raise LibraryError("the file was changed while it was read", where=where, mend="wait, then try again")
    finally:
        os.close(descriptor)
    order = sorted_positions(builder.hash)
    refuse_equal_ids(builder.id, equal_hashes(builder.hash, order), where)
    builder.sort(order)
    identity = Identity(
        device=stat.st_dev,
        inode=stat.st_ino,
        bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        sha256=hashed.hexdigest(),
    )
    said: dict[str, Any] = msgspec.to_builtins(identity)
    packed = builder.pack(FORMAT, VERSION, said, without_workflow=without, two_ids=two)
    place = _put(index_places(library), packed)
    info = LibraryInfo(
        path=str(library.absolute()),
        name=library.name,
        bytes=stat.st_size,
        sha256=identity.sha256,
        tasks=len(builder),
        types=builder.counts(),
    )
    return IndexMade(path=str(place), bytes=place.stat().st_size, info=info)


def check_index(library: Path, *, progress: Progress | None = None) -> TaskIndex:
    """Reads the whole library again and compares it with its index. Raises LibraryError if they differ."""
    index = TaskIndex.open(library)
    hashed = hashlib.sha256()
    descriptor, _ = open_library_file(library)
    try:
        for piece in pieces_of(descriptor, hashed.update, progress):
            del piece
    finally:
        os.close(descriptor)
    if hashed.hexdigest() != index.identity.sha256:
        raise LibraryError("its content is not what was indexed", where=str(library), mend=_AGAIN)
    return index


def refuse_equal_ids(id_of: Callable[[int], str], groups: Sequence[Sequence[int]], where: str) -> None:
    """Raises LibraryError if tasks whose hashes are equal have the same id."""
    twice: dict[str, list[int]] = {}
    for group in groups:
        for position in group:
            twice.setdefault(id_of(position), []).append(position)
    twice = {id: places for id, places in twice.items() if len(places) > 1}
    if not twice:
        return
    shown = [f"{ascii(id)[:80]} in tasks {', '.join(map(str, sorted(at)[:4]))}" for id, at in list(twice.items())[:10]]
    many = "1 id is" if len(twice) == 1 else f"{len(twice)} ids are"
    more = f"; and {len(twice) - 10} more" if len(twice) > 10 else ""
    raise LibraryError(
        f"{many} there more than once: {'; '.join(shown)}{more}", where=where, mend="give every task an id of its own"
    )


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


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _put(places: tuple[Path, Path], pieces: Iterator[bytes | memoryview]) -> Path:
    """Writes the index beside the library, or into the cache folder where that cannot be."""
    beside, cached = places
    if os.access(beside.parent, os.W_OK):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(cached)  # of two, nobody would know which one counts
        write_pieces(beside, pieces)
        return beside
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_pieces(cached, pieces)
    return cached
