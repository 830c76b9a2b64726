"""A packed table of tasks: 36 to 64 bytes a task beside its id, read without making an object for any of them.

Its head is a JSON document: how many tasks there are, their types, what it is a table of, and the sha256 of all that
and of the columns. The columns lie one behind the other, each in the order of the tasks. All tables have

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
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.base import AGAIN, Record, joined
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.rows import FIELDS, Counts, are_names, is_name
from prealloc.model.task_hash import hash_of, hashes_of, utf8
from prealloc.model.words import brief, shown

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
_EVERY = ("hash", "name", "type")
"""The columns that every table has. Its ids stand behind all others."""

Bytes = TypeVar("Bytes", bytearray, memoryview)
T = TypeVar("T")
Document = TypeVar("Document", bound=msgspec.Struct)


class StoredFormat(NamedTuple):
    """A stored format: its name and version, and where to get another file if one of them is damaged."""

    name: str
    version: int
    columns: tuple[str, ...] = ()
    """Of its table, besides those that every table has."""
    again: str = AGAIN

    def encode(self, fields: msgspec.Struct) -> bytes:
        """The JSON document of these fields: format and version stand first."""
        return msgspec.json.encode({"format": self.name, "version": self.version, **msgspec.structs.asdict(fields)})

    def sealed(self, fields: Document, *more: bytes | memoryview) -> Document:
        """These fields with the `sha256` of their document without it and of what else there is."""
        whole = hashlib.sha256(self.encode(msgspec.structs.replace(fields, sha256="")))
        for piece in more:
            whole.update(piece)
        return msgspec.structs.replace(fields, sha256=whole.hexdigest())

    def decode(self, text: bytes, shape: type[Document], where: str) -> Document:
        """The fields of such a document. Raises LibraryError."""
        try:
            value = loads(text, what=where)
        except StrictJsonError as error:
            raise self.damaged(f"it is not a JSON document: {error}", where) from None
        return self.fields(value, shape, where)

    def fields(self, value: object, shape: type[Document], where: str) -> Document:
        """The same of a value that has been decoded."""
        if not isinstance(value, dict) or value.get("format") != self.name:
            raise self.damaged(f"it is not a {self.name} document", where)
        if (found := value.get("version")) != self.version or type(found) is not int:
            raise LibraryError(
                f"it has version {shown(found)}, this prealloc reads version {self.version}:"
                " it was written by a newer prealloc, or is damaged",
                where=where,
                hint=f"use the prealloc that wrote it; or {self.again}",
            )
        fields: dict[str, Any] = {name: item for name, item in value.items() if name not in ("format", "version")}
        try:
            return msgspec.convert(fields, shape)
        except msgspec.ValidationError as error:
            raise self.damaged(f"a field is wrong: {brief(error)}", where) from None

    def damaged(self, problem: str, where: str) -> LibraryError:
        """The error of a file that is of this format, or should be, and is not what was written."""
        return LibraryError(problem, where=where, hint=self.again)


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
        """The head as the line that stands before the columns, where both are in one file."""
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

    def take_rows(self, records: Sequence[Record]) -> tuple[Sequence[Any], ...]:
        """Takes in tasks that are written as rows; gives their ids, types, digests, workflows, and other fields."""
        ids, types, _ = zip(*records, strict=True)
        workflows, fields = zip(*(record.split() for record in records), strict=True)
        proofs = [*map(digest, map(joined, workflows, fields))]
        self.take(records, proofs)
        return ids, types, proofs, workflows, fields

    def extend(
        self, ids: Sequence[str], types: Iterable[str] = (), proofs: Iterable[bytes] = (), **more: Iterable[int]
    ) -> None:
        """The same of tasks that are not at hand as records. Ids alone are enough to find one that is there twice."""
        # Column by column: for a million tasks, a loop over tasks takes twice as long.
        names, number = [utf8(id) for id in ids], self.types
        self.hash.extend(hashes_of(names))
        self.name.extend(islice(accumulate(map(len, names), initial=len(self.ids)), 1, None))
        self.ids += b"".join(names)
        self.type.extend([number.setdefault(name, len(number)) for name in types])
        self.digest += b"".join(proofs)
        for name, values in more.items():
            getattr(self, name).extend(values)

    def id(self, position: int) -> str:
        return str(_name(self.ids, self.name, position), "utf-8", "surrogatepass")

    def finish(self, where: str, number: Callable[[int], str] = str) -> None:
        """Lets tasks be found by their ids. Raises LibraryError for an id that is there twice."""
        self.order = refuse_duplicates_among(self.hash, self.id, where, number)

    def pack(self, format: StoredFormat, texts: T) -> tuple[Head[T], list[memoryview]]:
        """The head and the columns. Counts that were read from a file bring its sha256, which `Columns` compares."""
        pieces = [_little(getattr(self, name)) for name in (*_EVERY, *format.columns, "ids")]
        told = {"sha256": "", **msgspec.structs.asdict(self.counts)}
        head = Head(**told, types=list(self.types), texts=texts)
        return head if isinstance(self.counts, Meta) else format.sealed(head, *pieces), pieces

    def meta(self, format: StoredFormat) -> bytes:
        """The document with what a library whose tasks lie in rows says of them."""
        return format.encode(msgspec.convert(self.pack(format, None)[0], Meta, from_attributes=True))


class Columns(Generic[T]):
    """A packed table, read. `whole` are its columns, and must live as long as this does.

    Raises LibraryError for whatever a `ColumnsBuilder` does not make.
    """

    def __init__(self, head: Head[T], whole: memoryview, format: StoredFormat, where: str) -> None:
        self.head, self.format, self._where, tasks = head, format, where, head.tasks
        names = (*_EVERY, *format.columns)
        ends = [*accumulate((tasks * _COLUMNS[name][1] for name in names), initial=0)]
        if tasks < 1 or len(whole) < ends[-1]:
            raise format.damaged("it is truncated, or has no tasks", where)
        if not all(0 <= count <= tasks for count in (head.without_workflow, head.two_ids)):
            raise format.damaged("its counts are impossible", where)
        if head != format.sealed(head, whole):
            raise format.damaged("its content is not what was written", where)
        self.views = contextlib.ExitStack()
        """Of the columns. Close it to let go of their bytes: then nothing can be read any more."""
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
        ids = bytes(self._ids)
        names = (ids[start:end] for start, end in pairwise(chain([0], self._name)))
        for first in range(0, self.head.tasks, _AT_ONCE):
            if hashes_of([*islice(names, _AT_ONCE)]) != self.hash[first : first + _AT_ONCE].tolist():
                raise self.format.damaged("its hashes are not those of its ids", self._where)

    def id(self, position: int) -> str:
        with contextlib.suppress(UnicodeDecodeError):
            if is_name(id := str(_name(self._ids, self._name, position), "utf-8", "surrogatepass")):
                return id
        raise self.format.damaged(f"the id of task {position} is not a text that can be one", self._where)

    def type(self, position: int) -> str:
        return self.head.types[self.type_number[position]]

    def place(self, position: int) -> tuple[int, int]:
        """Where a task's text begins, and its bytes. Raises IndexError for a position without a task."""
        if position < 0:
            raise IndexError(position)
        return self.start[position], self.length[position]

    def digest(self, position: int) -> bytes:
        return bytes(self._digest[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)])

    def position(self, id: str) -> int | None:
        """Where a task is, in a table with an order."""
        raw = utf8(id)
        wanted = hash_of(raw)
        start = bisect_left(self.order, wanted, key=self.hash.__getitem__)
        for position in self.order[start:]:
            if self.hash[position] != wanted:
                break
            if _name(self._ids, self._name, position) == raw:
                return position
        return None


def _name(ids: Bytes, ends: Sequence[int], position: int) -> Bytes:
    """The bytes of an id."""
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
