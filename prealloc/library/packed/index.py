"""An index of a library file: who its tasks are and where each lies, so that one is read without the rest.

It lies beside the library (`tasks.json.index`), or in the user's cache folder. It is trusted while the file has the
device, inode, size and time of change that it had; and whatever is read by it is checked against the digest of
that very task, so that an unnoticed change gives an error and never another task.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prealloc.errors import LibraryError
from prealloc.files.paths import index_places
from prealloc.library.cache import DEFAULT_BYTES, CacheInfo, TaskCache
from prealloc.library.disk import FileIdentity, open_library_file, read_file
from prealloc.library.naming import own_text
from prealloc.library.packed.library import HeldLibrary
from prealloc.library.packed.table import Columns, Head
from prealloc.library.storing.stored import StoredFormat
from prealloc.model.fields import COMMON, Fields
from prealloc.model.words import quoted

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

FORMAT = StoredFormat(
    "prealloc-index", 1, ("start", "length", "digest", "order"), "make it again: prealloc library index LIBRARY"
)


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
    for place in reversed([place for place in index_places(library) if os.path.lexists(place)]):
        try:
            text = read_file(place)
            columns = Columns.read(text, FORMAT, str(place), Head[Indexed], end=len(text))
            if columns.head.texts.is_of(descriptor):
                return columns
            refusal = FORMAT.damaged(TaskIndex._unlike, str(place))
        except LibraryError as error:
            refusal = error
    raise refusal
