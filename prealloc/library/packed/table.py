"""A packed table of tasks: 36 to 64 bytes a task beside its id, read without making an object for any of them.

Its head is a JSON document: how many tasks there are, their types, what it is a table of, and the sha256 of all that
and of the columns. These lie one behind the other, the tasks in their order. All tables have

    hash      u64 a task    stable_hash of its id
    name      u64           where its id ends in `ids`; it begins where the one before ends
    type      u32           its place in the types
    ids       UTF-8, at the end, one behind the other

and before the ids, as the format says,

    start     u64           where its text begins, in its part if there are parts
    length    u64           bytes of its text
    workflow  u64           bytes of its workflow, if that is what its text ends with (and a bracket); else 0
    digest    16 bytes      BLAKE2b of its text
    order     u32           the tasks by their hashes, which finds an id

Little-endian. An index and a pool have a whole table, the head in a line of its own; a folder of parts has the head and
the columns in two files. A database and a Parquet file have their ids, types and digests in rows, for others to see:
their table is made again when they are opened, and its sha256 must be the one that was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any, Generic, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.base import Record, joined
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.rows import FIELDS, Counts, are_names, is_name
from prealloc.library.storing.stored import StoredFormat
from prealloc.library.text.refuse import no_tasks
from prealloc.model.task_hash import hash_of, hashes_of, utf8

MOST_HEAD = 16 << 20
DIGEST_BYTES = 16
_AT_ONCE = 1 << 16
_COLUMNS = {
    "hash": ("Q", 8),
    "name": ("Q", 8),
    "type": ("I", 4),
    "start": ("Q", 8),
    "length": ("Q", 8),
    "workflow": ("Q", 8),
    "digest": ("B", DIGEST_BYTES),
    "order": ("I", 4),
}
"""The type of each column's numbers, and the bytes that a task takes there."""

Bytes = TypeVar("Bytes", bytearray, memoryview)
T = TypeVar("T")


class Meta(Counts, kw_only=True, forbid_unknown_fields=True):
    """What a library says of all its tasks."""

    sha256: str
    """Of the head of their table, without this, and of its columns."""


class Head(Meta, Generic[T], kw_only=True, forbid_unknown_fields=True):
    """The head of a packed table, behind its format."""

    types: list[str]
    texts: T
    """What holds the texts of the tasks; None where it is the file of this table, or its rows."""

    def line(self, format: StoredFormat) -> bytes:
        """It, before its columns in one file."""
        line = format.encode(self) + b"\n"
        if len(line) > MOST_HEAD:
            hint = "types are for a few dozen kinds of tasks: give the tasks fewer types"
            raise LibraryError(f"it has {len(self.types):,} types, too many for a table of them", hint=hint)
        return line


def digest(text: bytes | memoryview) -> bytes:
    """What proves a task's text."""
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


class ColumnsBuilder:
    """Gathers the columns, and nothing else."""

    def __init__(self) -> None:
        self.hash, self.name, self.start, self.length, self.workflow = (array("Q") for _ in range(5))
        self.type, self.order, self.digest, self.ids = array("I"), array("I"), bytearray(), bytearray()
        self.types: dict[str, int] = {}
        self.counts = Counts(0, 0, 0)
        """Of those that were taken, unless somebody else has counted."""

    def take(self, records: Sequence[Record], proofs: Iterable[bytes] = (), **more: Iterable[int]) -> None:
        """Takes in tasks, with their digests and their numbers in other columns, if the table has these."""
        ids, types, _ = zip(*records, strict=True)
        self.extend(ids, types, proofs, **more)
        self.counts.add([FIELDS.decode(record.text) for record in records])

    def take_rows(self, records: Sequence[Record]) -> Iterator[tuple[str, str, bytes, bytes | None, bytes]]:
        """Takes in tasks that are written as rows: of each its id, type, digest, workflow, and other fields."""
        parts = [record.split() for record in records]
        proofs = [digest(joined(*each)) for each in parts]
        self.take(records, proofs)
        for record, proof, (workflow, fields) in zip(records, proofs, parts, strict=True):
            yield record.id, record.type, proof, workflow, fields

    def extend(
        self, ids: Sequence[str], types: Sequence[str], proofs: Iterable[bytes] = (), **more: Iterable[int]
    ) -> None:
        """The same of tasks that are not at hand as records."""
        # Column by column: for a million tasks, a loop over tasks takes twice as long.
        number = self.types
        self.add_ids(ids)
        self.type.extend([number.setdefault(name, len(number)) for name in types])
        self.digest += b"".join(proofs)
        for name, values in more.items():
            getattr(self, name).extend(values)

    def add_ids(self, ids: Sequence[str]) -> None:
        """Takes in the ids alone: enough to find one that is there twice."""
        names = [utf8(id) for id in ids]
        self.hash.extend(hashes_of(names))
        self.name.extend(islice(accumulate(map(len, names), initial=len(self.ids)), 1, None))
        self.ids += b"".join(names)

    def id(self, position: int) -> str:
        return str(_name(self.ids, self.name, position), "utf-8", "surrogatepass")

    def finish(self, where: str, number: Callable[[int], str] = str) -> None:
        """Lets tasks be found by their ids. Raises LibraryError for an id that is there twice."""
        self.order = refuse_duplicates_among(self.hash, self.id, where, number)

    def pack(self, format: StoredFormat, texts: T) -> tuple[Head[T], list[memoryview]]:
        """The head and the columns. Counts that were read with a sha256 keep it: the head is right if that is."""
        pieces = [_little(getattr(self, name)) for name in (*_columns(format), "ids")]
        told = {"sha256": "", **msgspec.structs.asdict(self.counts)}
        head = Head(**told, types=list(self.types), texts=texts)
        return head if isinstance(self.counts, Meta) else format.sealed(head, *pieces), pieces

    def meta(self, format: StoredFormat) -> Meta:
        """What a library whose tasks lie in rows says of them."""
        return msgspec.convert(self.pack(format, None)[0], Meta, from_attributes=True)


class Columns(Generic[T]):
    """A packed table, read. `whole` are its columns, and must live as long as this does.

    Raises LibraryError for whatever a `ColumnsBuilder` does not make.
    """

    def __init__(self, head: Head[T], whole: memoryview, format: StoredFormat, where: str) -> None:
        self.head, self.format, self._where, tasks = head, format, where, head.tasks
        names = _columns(format)
        ends = [*accumulate((tasks * _COLUMNS[name][1] for name in names), initial=0)]
        if tasks < 1 or len(whole) < ends[-1]:
            raise format.damaged("it is truncated, or has no tasks", where)
        if not all(0 <= count <= tasks for count in (head.without_workflow, head.two_ids)):
            raise format.damaged("its counts are impossible", where)
        if head != format.sealed(head, whole):
            raise format.damaged("its content is not what was written", where)
        self.views = contextlib.ExitStack()
        """Of the columns: closed, they let go of them, and nothing can be read any more."""
        found = dict.fromkeys(_COLUMNS, memoryview(b""))
        for name, (start, end) in zip(names, pairwise(ends), strict=True):
            found[name] = self.views.enter_context(_native(whole[start:end], _COLUMNS[name][0]))
        self.hash, self._name, self.type_number, self.start, self.length, self.workflow, self._digest, self.order = (
            found.values()
        )
        self._ids = self.views.enter_context(whole[ends[-1] :])
        # The sha256 proves that they are unchanged, not who made them.
        fit = max(self.type_number) < len(head.types) and max(self.order, default=0) < tasks
        if not (fit and self._name[-1] == len(self._ids) and are_names(head.types)):
            raise format.damaged("its columns do not fit each other", where)
        if not self.order and len({*self.hash}) < tasks:  # or it is a collision
            refuse_duplicates_among(array("Q", self.hash), self.id, where)

    @classmethod
    def read(
        cls, text: bytes | mmap.mmap, format: StoredFormat, where: str, shape: type[Head[T]], *, at: int = 0, end: int
    ) -> Columns[T]:
        """The table between two places in a file, its head in the first line. Raises LibraryError."""
        line_end = text.find(b"\n", at, at + MOST_HEAD) + 1
        head = format.decode(bytes(text[at:line_end]), shape, where)
        return cls(head, memoryview(text)[line_end:end], format, where)

    def refuse_other_hashes(self) -> None:
        """Raises LibraryError unless the hashes are those of the ids: for a table that others may have written."""
        tasks, ids = self.head.tasks, bytes(self._ids)
        for first in range(0, tasks, _AT_ONCE):
            ends = self._name[first : first + _AT_ONCE].tolist()
            begins = [self._name[first - 1] if first else 0, *ends[:-1]]
            raws = [ids[begin:end] for begin, end in zip(begins, ends, strict=True)]
            if hashes_of(raws) != self.hash[first : first + _AT_ONCE].tolist():
                raise self.format.damaged("its hashes are not those of its ids", self._where)

    def id(self, position: int) -> str:
        with contextlib.suppress(UnicodeDecodeError):
            if is_name(id := str(_name(self._ids, self._name, position), "utf-8", "surrogatepass")):
                return id
        raise self.format.damaged(f"the id of task {position} is not a text that can be one", self._where)

    def type(self, position: int) -> str:
        return self.head.types[self.type_number[position]]

    def place(self, position: int) -> tuple[int, int]:
        """Where a task's text begins, and its bytes. Raises IndexError for a position that there is not."""
        if position < 0:
            raise IndexError(position)
        return self.start[position], self.length[position]

    def digest(self, position: int) -> bytes:
        return bytes(self._digest[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)])

    def position(self, id: str) -> int | None:
        """Where a task is, in a table with an order."""
        raw = utf8(id)
        wanted = hash_of(raw)
        hashes, order = self.hash, self.order
        at = bisect_left(order, wanted, key=hashes.__getitem__)
        while at < len(order) and hashes[order[at]] == wanted:
            if _name(self._ids, self._name, order[at]) == raw:
                return order[at]
            at += 1
        return None


StoredNames = tuple[Sequence[Any], Sequence[Any], Sequence[bytes]]
"""What should be the ids, the types and the digests of some tasks."""


def table_of_rows(rows: Iterable[StoredNames], format: StoredFormat, where: str, counts: Counts) -> Columns[None]:
    """The table of tasks that lie in rows, which must have the sha256 of the counts, if they have one."""
    builder = ColumnsBuilder()
    for ids, types, digests in rows:
        if not (are_names(ids) and are_names(types)):
            raise format.damaged("the id or the type of a task is not a text that can be one", where)
        builder.extend(ids, types, digests)
    if not builder.hash:
        raise no_tasks(where)
    builder.counts = counts
    head, pieces = builder.pack(format, None)
    return Columns(head, memoryview(b"".join(pieces)), format, where)


def _columns(format: StoredFormat) -> tuple[str, ...]:
    """The columns of a table, one behind the other, without the ids."""
    return ("hash", "name", "type", *format.columns)


def _name(ids: Bytes, ends: Sequence[int], position: int) -> Bytes:
    """An id, as it lies among the others."""
    return ids[ends[position - 1] if position else 0 : ends[position]]


def _little(column: array[int] | bytearray) -> memoryview:
    if isinstance(column, array) and sys.byteorder != "little":
        column = array(column.typecode, column)
        column.byteswap()
    return memoryview(column).cast("B")


def _native(column: memoryview, code: str) -> memoryview:
    """What `_little` made, as numbers again."""
    if sys.byteorder != "little":
        column = _little(array(code, bytes(column)))
    return column.cast(code)  # type: ignore[call-overload, no-any-return]


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
