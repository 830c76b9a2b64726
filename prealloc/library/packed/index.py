"""An index of a library file: who its tasks are and where each lies, so that one is read without the rest.

It lies beside the library (`tasks.json.index`), or in the user's cache folder, or is held by this process alone. It is
trusted while the file has the device, inode, size and time of change that it had; and whatever is read by it is checked
against the digest of that very task, so that an unnoticed change gives an error and never another task.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.atomic import write_pieces, writing
from prealloc.files.paths import index_places, readable_name
from prealloc.library.cache import DEFAULT_BYTES, CacheInfo, TaskCache
from prealloc.library.disk import FileIdentity, Progress, head_of, open_library_file, read_file
from prealloc.library.naming import own_text
from prealloc.library.packed.library import HeldLibrary
from prealloc.library.packed.table import Columns, ColumnsBuilder, Head, StoredFormat, digest
from prealloc.library.text.batch import Batch
from prealloc.library.text.library import read_tasks
from prealloc.library.text.sources import Proof, file_source
from prealloc.library.unpack import packing
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.words import quoted

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

FORMAT = StoredFormat(
    "prealloc-index", 1, ("start", "length", "digest", "order"), "make it again: prealloc library index LIBRARY"
)
_LONGEST_NAME = 240


class Indexed(FileIdentity, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file that an index is of: by what the system says of it, and by its content."""

    sha256: str
    fields: Fields | None = None
    """How its tasks are named; None, and not written, where they are spelled as ours are."""


class TaskIndex(HeldLibrary):
    """A library file with its index. `index[id]` and `index.random_task(type, seed)` read one task each.

    What was read is kept, up to `cache_bytes`, least lately used first out. Close it, or use `with`.
    """

    way = "index"
    _unlike = "the library was changed since it was indexed"

    def __init__(
        self, library: Path, columns: Columns[Indexed], descriptor: int, *, keep: tuple[str, ...], cache_bytes: int
    ) -> None:
        self._hold(descriptor)
        file = columns.head.texts
        super().__init__(columns, library, keep, size=file.bytes, sha256=file.sha256, fields=file.fields or COMMON)
        self._cache = TaskCache(cache_bytes)

    @classmethod
    def open(
        cls,
        library: str | Path,
        *,
        keep: tuple[str, ...] = (),
        fields: Fields = COMMON,
        cache_bytes: int = DEFAULT_BYTES,
    ) -> TaskIndex:
        """The index of a library file, where there is one that fits. Raises LibraryError."""
        path = Path(library)
        with open(open_library_file(path), "rb") as file:
            columns = _find(path, file.fileno())
            if fields not in (COMMON, columns.head.texts.fields):
                hint = "make it again with the same options, or omit them"
                raise LibraryError("its tasks are named by other options", where=str(path), hint=hint)
            return cls(path, columns, os.dup(file.fileno()), keep=keep, cache_bytes=cache_bytes)

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
        fields = self.columns.head.texts.fields
        for position in positions:
            self.refuse_unusable()
            start, length = self.columns.place(position)
            text = self._proved(position, os.pread(self._descriptor, length, start))
            if fields is not None:
                text = own_text(text, self.ids[position], self.types[position], fields.workflow_field)
            yield text

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(TaskIndex.open, keep=self._keep, cache_bytes=self.cache.most_bytes), (self.path,)


def _find(library: Path, descriptor: int) -> Columns[Indexed]:
    """The index that fits a library that is open. Raises LibraryError: why the first does not."""
    refusal = LibraryError(
        "it has no index", where=str(library), hint=f"make one: prealloc library index {quoted(library)}"
    )
    for place in filter(os.path.lexists, reversed(index_places(library))):
        try:
            text = read_file(place)
            columns = Columns.read(text, FORMAT, str(place), Head[Indexed], end=len(text))
            if columns.head.texts.is_of(descriptor):
                return columns
            refusal = FORMAT.damaged(TaskIndex._unlike, str(place))
        except LibraryError as error:
            refusal = error
    raise refusal


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
    beside, cached = index_places(library)
    can_be_beside = os.access(beside.parent, os.W_OK) and len(os.fsencode(beside.name)) <= _LONGEST_NAME
    place, other = (beside, cached) if can_be_beside else (cached, beside)
    with writing(place, LibraryError, otherwise="see that a file can be made there"):
        if aside := moved_aside(place):
            problem, hint = "this is not an index, and would be replaced", f"move it out of the way: {aside}"
            raise LibraryError(problem, where=str(place), hint=hint)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_pieces(place, [head.line(FORMAT), *pieces])
    if _is_index(other):
        with contextlib.suppress(OSError):  # it does not fit any more, and is left aside
            os.unlink(other)
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
    indexed = Indexed(
        **msgspec.structs.asdict(before),
        sha256=read.info.sha256,
        fields=read.info.fields or (COMMON if read.naming else None),
    )
    read.taker.counts = read.counts
    return *read.taker.pack(FORMAT, indexed), read.info


class _Columns(ColumnsBuilder):
    """Takes the tasks of a library into the columns of its index."""

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None:
        starts = [batch.origin.byte + start for start, _ in batch.spans]
        texts = [memoryview(text) for text in batch.texts]
        if batch.places:  # the lead of such a task, `{"id":"a",` say, stands for the `{` that the file has
            origins = [origin for _, origin in batch.places]
            starts = [origin.byte + origin.lead for origin in origins]
            leads = (origin.lead for origin in origins)
            texts = [memoryview(b"{" + bytes(text[lead + 1 :])) for text, lead in zip(texts, leads, strict=True)]
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


def moved_aside(place: Path) -> str | None:
    """The command that moves away what lies in an index's place; None if that is an index, or nothing."""
    if _is_index(place) or not (place.is_dir() or head_of(place, 1)):
        return None
    return f"mv {quoted(place)} {quoted(f'{place}.aside')}"


def _is_index(place: Path) -> bool:
    """Whether a file is one of ours, be it damaged: one changed byte does not hide both words."""
    head = head_of(place, 32)
    return b'"format"' in head or b"prealloc-index" in head
