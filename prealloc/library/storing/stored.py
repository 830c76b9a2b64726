"""A stored library: its tasks' names, counts and digests are read when it is opened, and the text of any task later.

A digest proves each task, and one fingerprint all of them, to be what was written. Every part of what is hashed
stands behind its length, so that no two tasks and no two libraries read alike.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError
from prealloc.library.base import BaseLibrary, Record, TaskMaker, has_two_ids, is_null
from prealloc.library.duplicate_ids import refuse_duplicate_ids
from prealloc.library.rows import AnyRow, LooseRow, is_name, named, row_types
from prealloc.library.storing.format import AGAIN, StoredFormat
from prealloc.library.text.refuse import no_tasks
from prealloc.model.plan import LibraryInfo
from prealloc.model.task import LightweightTask
from prealloc.model.words import brief, shown

DIGEST_BYTES = 16
_NO_WORKFLOW = (2**64 - 1).to_bytes(8, "big")
"""In place of the length of a workflow that is missing. One that is null has 4 bytes."""

_row = msgspec.json.Decoder(LooseRow)


# -- counts -----------------------------------------------------------------------------------------------------


class Counted(Protocol):
    """Whatever says how many tasks there are, how many have no workflow (or null), how many two ids that differ."""

    @property
    def tasks(self) -> int: ...
    @property
    def without_workflow(self) -> int: ...
    @property
    def two_ids(self) -> int: ...


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """These numbers as such, so that no reader need look at all tasks to know them."""

    tasks: int
    without_workflow: int
    two_ids: int

    def add(self, rows: Sequence[AnyRow]) -> None:
        """Counts these tasks too."""
        self.tasks += len(rows)
        self.without_workflow += sum(map(is_null, rows))
        self.two_ids += sum(map(has_two_ids, rows))

    def add_record(self, record: Record) -> None:
        """Counts this task too."""
        self.add([_row.decode(record.text)])


# -- names ------------------------------------------------------------------------------------------------------


def checked_names(pairs: Iterable[tuple[Any, Any]], *, where: str, row: str, hint: str) -> tuple[list[str], list[str]]:
    """Ids and types, in their order. `row` is the word for what holds a pair (`row`, `line`), for messages.

    Raises LibraryError for an id or type that is not a string, empty or has a NUL, for an id that is there twice, and
    if there are no tasks. Rows count from 0.
    """
    ids: list[str] = []
    types: list[str] = []
    one_of: dict[str, str] = {}  # one string object per type, not one per task
    for id, type in pairs:
        if not (is_name(id) and is_name(type)):
            word, value = ("type", type) if is_name(id) else ("id", id)
            problem = f"the task has no {word}" if value is None else f"{shown(value)} cannot be the {word} of a task"
            raise LibraryError(problem, where=f"{where}, {row} {len(ids)} (counted from 0)", hint=hint)
        ids.append(id)
        types.append(one_of.setdefault(type, type))
    if not ids:
        raise no_tasks(where)
    refuse_duplicate_ids(ids, where)
    return ids, types


# -- proof ------------------------------------------------------------------------------------------------------


class Meta(Counts, kw_only=True, forbid_unknown_fields=True):
    """What a library says of all its tasks. `sha256` is their fingerprint."""

    sha256: str


def digest(id: str, type: str, workflow: bytes | None, fields: bytes) -> bytes:
    """The digest of a task: blake2b, 128 bits, over its id, type, workflow text and the text of its other fields."""
    whole = hashlib.blake2b(_text(id) + _text(type), digest_size=DIGEST_BYTES)
    if workflow is None:
        whole.update(_NO_WORKFLOW)
    else:
        whole.update(len(workflow).to_bytes(8, "big"))
        whole.update(workflow)
    whole.update(len(fields).to_bytes(8, "big"))
    whole.update(fields)
    return whole.digest()


class Fingerprint:
    """The sha256 of a library's content: ids, types and digests in their order, and at the end the counts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, id: str, type: str, digest: bytes) -> None:
        self._hash.update(_text(id) + _text(type) + digest)

    def meta(self, counts: Counted) -> Meta:
        """What to write of these tasks. The counts are hashed too, because nothing else would prove them."""
        sealed = self._hash.copy()
        numbers = (counts.tasks, counts.without_workflow, counts.two_ids)
        for number in numbers:
            sealed.update(number.to_bytes(8, "big"))
        return Meta(*numbers, sha256=sealed.hexdigest())

    def prove(self, meta: Meta, tasks: int, format: StoredFormat, where: str) -> None:
        """Raises LibraryError unless these tasks, so many, are those that `meta` was written of."""
        possible = meta.tasks == tasks and 0 <= meta.without_workflow <= tasks and 0 <= meta.two_ids <= tasks
        if not possible or self.meta(meta) != meta:
            raise format.damaged("its tasks are not those that were written", where)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "big") + raw


# -- the library ------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """What is known of a stored library once it is open; `keep` are the fields to take along with its tasks."""

    info: LibraryInfo
    ids: Sequence[str]
    types: Sequence[str]
    counts: Counted
    keep: tuple[str, ...]


class StoredLibrary(BaseLibrary):
    """A library of which any task can be read by itself. A format gives `texts`; the rest follows from it."""

    def __init__(self, facts: Facts) -> None:
        self.info = facts.info
        self.ids = facts.ids
        self.types = facts.types
        self.without_workflow = facts.counts.without_workflow
        self.took: str | None = None
        self._two_ids = facts.counts.two_ids
        self._maker = TaskMaker(facts.keep, self._blame)
        strict, loose = row_types(facts.keep)
        self._row = msgspec.json.Decoder(strict)
        self._loose = msgspec.json.Decoder(loose)

    @abstractmethod
    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        """The JSON text of each of these tasks, in this order, proved to be what was written. Raises LibraryError."""

    def two_ids(self) -> int:
        return self._two_ids

    def task(self, position: int) -> LightweightTask:
        return next(self._tasks([position]))

    def _tasks(self, positions: Iterable[int]) -> Iterator[LightweightTask]:
        asked = list(positions)
        texts = self.objects(asked) if self._maker.keeps_all else self.texts(asked)
        for position, text in zip(asked, texts, strict=True):
            yield self._made(position, text)

    def _made(self, position: int, text: bytes) -> LightweightTask:
        id, type = self.ids[position], self.types[position]
        row = self._decoded(position, text)
        if named(row) != (id, type):
            raise LibraryError("another task is where this one should be", where=self._place(position), hint=AGAIN)
        if self._maker.keeps_all:
            return self._maker.make_whole(id, type, text)
        return self._maker.make(position, id, type, row)

    def _decoded(self, position: int, text: bytes) -> AnyRow:
        try:
            try:
                return self._row.decode(text)
            except msgspec.ValidationError:
                return self._loose.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # as it was written, but not JSON
            raise LibraryError(f"it is not a task: {brief(error)}", where=self._place(position), hint=AGAIN) from None

    def _place(self, position: int, raw: bytes = b"", offset: int = 0) -> str:
        """Where a task is; `offset` counts from the beginning of `raw` in it."""
        return f"{self.info.path}, task {position} (id {ascii(self.ids[position])[:80]})"

    def _blame(self, position: int, name: str, raw: msgspec.Raw, error: StrictJsonError) -> LibraryError:
        path = f"{name}{(error.path or '$')[1:]}".removeprefix(".")
        return LibraryError(
            error.problem,
            where=f"{self._place(position, bytes(raw), error.offset or 0)}, at {path}",
            hint=f"fix this value {f'in the {name} ' if name else ''}of the task, or leave the task out",
        )
