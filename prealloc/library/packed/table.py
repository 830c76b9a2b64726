"""A packed table of tasks: 52 bytes a task beside its id, read without making an object for any of them.

    a line of JSON: what the file is, the types, where each column lies, the digest of all that follows
    zeros up to a multiple of 8
    hash      u64 a task    stable_hash of its id; the rows are sorted by it, so it finds an id
    start     u64           where its text begins
    name      u64           where its id ends in `ids`; it begins where the one before ends
    digest    16 bytes      BLAKE2b of its text
    length    u32           bytes of its text
    workflow  u32           bytes of its workflow, if that is what its text ends with (and a bracket); else 0
    type      u32           its place in the types
    ids       UTF-8         one behind the other

Little-endian. The digest covers the head and every column, so whatever is read here is what was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, islice
from typing import Any, Generic, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.rows import Counts
from prealloc.library.storing.stored import StoredFormat
from prealloc.model.task_hash import hash_of, stable_hashes, utf8
from prealloc.model.words import shown

MOST_TEXT = 2**32 - 1
"""Bytes of the longest task."""

MOST_HEAD = 16 << 20
_DIGEST = 16
_COLUMNS = {
    "hash": ("Q", 8),
    "start": ("Q", 8),
    "name": ("Q", 8),
    "digest": ("B", _DIGEST),
    "length": ("I", 4),
    "workflow": ("I", 4),
    "type": ("I", 4),
    "ids": ("B", 0),
}
"""The type of each column's numbers, and the bytes that a task takes there; 0: it depends."""

_CHUNK = 1 << 16

Bytes = TypeVar("Bytes", bytearray, memoryview)
T = TypeVar("T")


class Head(msgspec.Struct, Generic[T], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a packed table, behind its format."""

    tasks: int
    types: list[str]
    without_workflow: int
    two_ids: int
    columns: dict[str, tuple[int, int]]
    """Offset from the end of the padding, and bytes."""
    sha256: str = ""
    """Of the rest of this head, and of all columns."""
    said: T
    """What the kind of file that this is has to say besides."""


def digest(text: bytes | memoryview) -> bytes:
    """What proves a task's text."""
    return hashlib.blake2b(text, digest_size=_DIGEST).digest()


class ColumnsBuilder:
    """Gathers the columns: 52 bytes a task, its id, and nothing else."""

    def __init__(self) -> None:
        self.hash, self.start, self.name = array("Q"), array("Q"), array("Q")
        self.length, self.workflow, self.type = array("I"), array("I"), array("I")
        self.digest, self.ids = bytearray(), bytearray()
        self.types: dict[str, int] = {}

    def extend(
        self,
        ids: Sequence[str],
        types: Sequence[str],
        starts: Iterable[int],
        texts: Sequence[bytes | memoryview],
        workflows: Iterable[int],
    ) -> None:
        """Takes in tasks, at least one, in any order: where the text of each begins, it, and bytes of its workflow."""
        # Column by column: for a million tasks, a loop over tasks takes twice as long.
        lengths, number = [*map(len, texts)], self.types
        if (longest := max(lengths)) > MOST_TEXT:
            where = f"the task {shown(ids[lengths.index(longest)])}"
            raise LibraryError("a task is larger than 4 GB", where=where, hint="leave it out")
        self.add_ids(ids)
        self.type.extend([number.setdefault(name, len(number)) for name in types])
        self.start.extend(starts)
        self.length.extend(lengths)
        self.workflow.extend(workflows)
        self.digest += b"".join(map(digest, texts))

    def add_ids(self, ids: Sequence[str]) -> None:
        """Takes in the ids alone: enough to find one that is there twice."""
        self.hash.extend(stable_hashes(ids))
        self._add_names([utf8(id) for id in ids])

    def _add_names(self, names: Sequence[bytes | bytearray]) -> None:
        self.name.extend(islice(accumulate(map(len, names), initial=len(self.ids)), 1, None))
        self.ids += b"".join(names)

    def id(self, position: int) -> str:
        return str(_name(self.ids, self.name, position), "utf-8", "surrogatepass")

    def finish(self, where: str) -> None:
        """Sorts the tasks, as they must be packed. Raises LibraryError for an id that is there twice."""
        order = refuse_duplicates_among(self.hash, self.id, where)
        # One column after the other.
        for name in ("hash", "start", "length", "workflow", "type"):
            column: array[int] = getattr(self, name)
            setattr(self, name, array(column.typecode, map(column.__getitem__, order)))
        digests, ids, ends = self.digest, self.ids, self.name
        self.digest, self.ids, self.name = bytearray(), bytearray(), array("Q")
        for first in range(0, len(order), _CHUNK):  # an object for every task at once would be 100 bytes each
            chunk = order[first : first + _CHUNK]
            self.digest += b"".join([digests[_DIGEST * at : _DIGEST * (at + 1)] for at in chunk])
            self._add_names([_name(ids, ends, at) for at in chunk])

    def pack(self, format: StoredFormat, said: object, counts: Counts) -> Iterator[bytes | memoryview]:
        """The file, piece by piece. After `finish`."""
        columns = {name: _little(getattr(self, name)) for name in _COLUMNS}
        pieces = [piece for column in columns.values() for piece in (column, padding(column.nbytes))]
        head = Head(
            tasks=len(self.hash),
            types=list(self.types),
            without_workflow=counts.without_workflow,
            two_ids=counts.two_ids,
            columns=_places({name: column.nbytes for name, column in columns.items()}),
            said=said,
        )
        line = format.encode(format.sealed(head, "sha256", *pieces)) + b"\n"
        if len(line) > MOST_HEAD:
            hint = "types are for a few dozen kinds of tasks: give the tasks fewer types"
            raise LibraryError(f"it has {len(self.types):,} types, too many for a table of them", hint=hint)
        yield line + padding(len(line))
        yield from pieces


class Columns(Generic[T]):
    """A packed table, read: what lies in `text` from `at` on. `text` must live as long as this does.

    Raises LibraryError for whatever `ColumnsBuilder.pack` does not make, with a head of this shape.
    """

    def __init__(
        self, text: bytes | mmap.mmap, format: StoredFormat, where: str, shape: type[Head[T]], *, at: int = 0
    ) -> None:
        self._damaged = partial(format.damaged, where=where)
        line_end = text.find(b"\n", at, at + MOST_HEAD) + 1
        self.head = head = format.decode(bytes(text[at:line_end]), shape, where)
        if sys.byteorder != "little":
            raise self._damaged("this machine is big-endian, and the columns are not")
        self.counts = Counts(head.tasks, head.without_workflow, head.two_ids)
        begin = line_end + len(padding(line_end - at))
        self.end = begin + sum(size + len(padding(size)) for _, size in head.columns.values())
        """Where the columns end in the file."""
        self._refuse_misfits(len(text))
        self.views = contextlib.ExitStack()
        """Of the text: closed, they let go of it, and nothing can be read any more."""
        whole = memoryview(text)[begin : self.end]
        if head != format.sealed(head, "sha256", whole):
            raise self._damaged("its content is not what was written")
        columns: list[memoryview] = [
            whole[at : at + size].cast(_COLUMNS[name][0])  # type: ignore[call-overload]
            for name, (at, size) in head.columns.items()
        ]
        self.hash, self.start, self._name, self._digest, self._length, self._workflow, self.type_number, self._ids = (
            map(self.views.enter_context, columns)
        )
        # The digest proves that the file is unchanged, not who made it.
        if max(self.type_number) >= len(head.types) or self._name[-1] != len(self._ids):
            raise self._damaged("its columns do not fit each other")

    def id(self, position: int) -> str:
        try:
            return str(_name(self._ids, self._name, position), "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._damaged(f"the id of task {position} is not text") from None

    def type(self, position: int) -> str:
        return self.head.types[self.type_number[position]]

    def place(self, position: int) -> tuple[int, int, int]:
        """Where a task's text begins, its bytes, and how many of them are the workflow that it ends with.

        Raises IndexError for a position that there is not.
        """
        if position < 0:
            raise IndexError(position)
        return self.start[position], self._length[position], self._workflow[position]

    def digest(self, position: int) -> bytes:
        return bytes(self._digest[_DIGEST * position : _DIGEST * (position + 1)])

    def position(self, id: str) -> int | None:
        raw = utf8(id)
        wanted = hash_of(raw)
        hashes, ids, ends = self.hash, self._ids, self._name
        at = bisect_left(hashes, wanted)
        while at < len(hashes) and hashes[at] == wanted:
            if _name(ids, ends, at) == raw:
                return at
            at += 1
        return None

    def _refuse_misfits(self, size: int) -> None:
        """Lengths that cannot be: the digest is looked at when it is known which bytes it is of."""
        tasks, columns = self.head.tasks, self.head.columns
        if tasks < 1 or list(columns) != list(_COLUMNS):
            raise self._damaged("its head is not one that prealloc writes")
        _, ids = columns["ids"]
        if ids < 0 or columns != _places({name: tasks * each or ids for name, (_, each) in _COLUMNS.items()}):
            raise self._damaged("its columns are not where they should be")
        if self.end > size:
            raise self._damaged("it is truncated")


def _places(sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Where columns of these sizes lie, one behind the other, and their sizes."""
    ends = accumulate((size + len(padding(size)) for size in sizes.values()), initial=0)
    return {name: (at, size) for (name, size), at in zip(sizes.items(), ends, strict=False)}


def padding(size: int) -> bytes:
    """What is missing to a multiple of 8."""
    return b"\0" * (-size % 8)


def _name(ids: Bytes, ends: Sequence[int], position: int) -> Bytes:
    """An id, as it lies among the others."""
    return ids[ends[position - 1] if position else 0 : ends[position]]


def _little(column: array[int] | bytearray) -> memoryview:
    if isinstance(column, array) and sys.byteorder != "little":
        column = array(column.typecode, column)
        column.byteswap()
    return memoryview(column).cast("B")


class Lazy(Sequence[str]):
    """A sequence of which nothing exists until it is looked at."""

    def __init__(self, size: int, get: Callable[[int], str]) -> None:
        self._places = range(size)
        self._get = get

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: Any) -> Any:
        places = self._places[at]
        return list(map(self._get, places)) if isinstance(places, range) else self._get(places)

    def __iter__(self) -> Iterator[str]:
        return map(self._get, self._places)
