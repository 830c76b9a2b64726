"""What every way to reach a task library has in common: the protocol, and the parts that all formats share.

A format does three things: it says who the tasks are (`ids`, `types`), gives the text of any task (`texts`), and
proves that what it gives is what was written. The rest is here.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from msgspec import UNSET

from prealloc.errors import LibraryError
from prealloc.files.paths import readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.rows import NOTHING, NULL, AnyRow, has, kept
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD, IN_EVERY_SLICE
from prealloc.model.task import LightweightTask

Progress = Callable[[int, int], None]
"""Called with (done so far, in all): bytes where a file is read, tasks where tasks are written."""


class Library(Protocol):
    """A task library that is open: who its tasks are, and any of them on demand. Positions count from 0."""

    way: str
    """How its tasks are reached, in a word: what `library stats` tells."""
    info: LibraryInfo
    """The fingerprint: what plan.json says of it."""
    without_workflow: int
    """Tasks whose workflow is missing or null."""
    took: str | None
    """Which file of a folder this is, as a sentence; None where there was nothing to choose."""
    note: str | None
    """How its tasks are named, where that was chosen, as a sentence."""

    @property
    def ids(self) -> Sequence[str]:
        """Of all tasks; of a stream, of those that its shortlist wanted."""

    @property
    def types(self) -> Sequence[str]:
        """The type of `ids[i]`."""

    def hashes(self) -> Sequence[int] | None:
        """`stable_hash` of every id, if they are at hand: then a plan need not look at every id."""

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """The positions of these ids, without those that are not there."""

    def order(self) -> Sequence[int]:
        """All positions, in the order in which the tasks were written."""

    def two_ids(self) -> int:
        """How many tasks have both `id` and `instance_id`, and they differ."""

    def task(self, position: int) -> LightweightTask:
        """The task at a position, its workflow and kept fields compacted and checked. Raises LibraryError."""

    def tasks(self, positions: Iterable[int]) -> list[LightweightTask]:
        """`task(position)` for each of the positions."""

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        """The JSON text of each of these tasks with all its fields, as it lies in the library. Raises LibraryError."""

    def objects(self, positions: Sequence[int]) -> Iterator[bytes]:
        """The same as compact JSON, checked strictly. Raises LibraryError."""

    def absent(self, names: Iterable[str]) -> set[str]:
        """Which of these fields, that are to be kept, no task has. May read all tasks to know. Raises LibraryError."""


class Record(NamedTuple):
    """A task as it goes from one format into another: its id, its type, and its whole object as compact JSON."""

    id: str
    type: str
    text: bytes

    def split(self) -> tuple[bytes | None, bytes]:
        """The workflow, and the object without it; both compact JSON.

        A task whose workflow is missing or null has none: the object is whole, so that who generates the workflow by
        it sees its fields in their order.
        """
        fields = _fields.decode(self.text)
        workflow = fields.get("workflow", NULL)
        if workflow == NULL:
            return None, msgspec.json.encode(fields)
        del fields["workflow"]
        return bytes(workflow), msgspec.json.encode(fields)


def joined(workflow: bytes | None, fields: bytes) -> bytes:
    """The whole object again: what `Record.split` took apart, the workflow last."""
    if workflow is None:
        return fields
    return fields[:-1] + (b',"workflow":' if len(fields) > 2 else b'"workflow":') + workflow + b"}"


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STEP = 1 << 14


def fields_of(text: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a task's object by name, as they lie in its text; none of one that no JSON reader takes."""
    try:
        return _fields.decode(text)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
    ):  # the scan steps over fields that were not asked for
        return {}


def info_of(
    library: Path, *, size: int, sha256: str, types: Mapping[str, int], difficulty: str | None = None
) -> LibraryInfo:
    """The fingerprint of a library that lies at a path. `types` counts its tasks of each type.

    Bytes of its path that are not text become escapes, so that JSON can hold them. Such a path does not find the
    library again, and the guard of a run (worker/guard.py) does not know it: that is accepted, for plan.json must be
    JSON.
    """
    path = library.absolute()
    return LibraryInfo(
        path=readable_name(str(path)),
        name=readable_name(path.name),
        bytes=size,
        sha256=sha256,
        tasks=sum(types.values()),
        types=dict(sorted(types.items())),
        difficulty=difficulty,
    )


@contextmanager
def without_gc() -> Iterator[None]:
    """Without the collector of cycles while the block runs: many objects are made of which none is garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Writer(Protocol):
    """Takes tasks one after the other into a new file or folder, which is there when the last one is."""

    def add(self, record: Record) -> None: ...


class TaskMaker:
    """Makes tasks of rows: what is kept of them, compacted and checked.

    `blame(position, field, raw, error)` makes the error of a value that strict JSON refuses.
    """

    def __init__(
        self,
        keep: tuple[str, ...],
        blame: Callable[[int, str, msgspec.Raw, StrictJsonError], LibraryError],
    ) -> None:
        self.keeps_all = EVERY_FIELD in keep
        self._keep = keep
        self._keys = [msgspec.json.encode(name) for name in keep]
        self._blame = blame

    def make(self, position: int, id: str, type: str, row: AnyRow) -> LightweightTask:
        # The id and type were checked by the scan; validating again would cost more than the compacting.
        return LightweightTask.trusted(
            id,
            type,
            self._compact(position, "workflow", row.workflow) or b"null",
            self._extra(position, row) if self._keep else b"{}",
        )

    def make_whole(self, id: str, type: str, whole: bytes) -> LightweightTask:
        """The task with every field of its object, which is compact and has been checked."""
        fields = fields_of(whole)
        workflow = bytes(fields.get("workflow", NULL))
        extra = {name: raw for name, raw in sorted(fields.items()) if name not in IN_EVERY_SLICE}
        return LightweightTask.trusted(id, type, workflow, msgspec.json.encode(extra))

    def _extra(self, position: int, row: AnyRow) -> bytes:
        fields = []
        for i, (name, key) in enumerate(zip(self._keep, self._keys, strict=True)):
            value = self._compact(position, name, kept(row, i, name))
            if value is not None:
                fields.append(key + b":" + value)
        return b"{" + b",".join(fields) + b"}"

    def _compact(self, position: int, name: str, raw: msgspec.Raw) -> bytes | None:
        if not has(raw):
            return None
        try:
            return compact(raw)
        except StrictJsonError as error:
            raise self._blame(position, name, raw, error) from None


class BaseLibrary(ABC):
    """What all of them do alike."""

    way: str
    info: LibraryInfo
    ids: Sequence[str]
    note: str | None = None

    def __len__(self) -> int:
        return self.info.tasks

    def hashes(self) -> Sequence[int] | None:
        return None

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        wanted = set(ids)
        return {id: place for place, id in enumerate(self.ids) if id in wanted}

    def order(self) -> Sequence[int]:
        return range(len(self.ids))

    @abstractmethod
    def task(self, position: int) -> LightweightTask: ...

    @abstractmethod
    def texts(self, positions: Sequence[int]) -> Iterator[bytes]: ...

    @abstractmethod
    def _blame(self, position: int, name: str, raw: msgspec.Raw, error: StrictJsonError) -> LibraryError: ...

    def objects(self, positions: Sequence[int]) -> Iterator[bytes]:
        return self._compacted(positions, self.texts(positions))

    def _compacted(self, positions: Sequence[int], texts: Iterator[bytes]) -> Iterator[bytes]:
        for position, text in zip(positions, texts, strict=True):
            try:
                yield compact(text)
            except StrictJsonError as error:
                raise self._blame(position, "", msgspec.Raw(text), error) from None

    def absent(self, names: Iterable[str]) -> set[str]:
        missing, order = set(names), self.order()
        for start in range(0, len(order), _STEP):
            for text in self.texts(order[start : start + _STEP]):
                missing -= fields_of(text).keys()
                if not missing:
                    return missing
        return missing

    def tasks(self, positions: Iterable[int]) -> list[LightweightTask]:
        with without_gc():
            return list(self._tasks(positions))

    def _tasks(self, positions: Iterable[int]) -> Iterator[LightweightTask]:
        for position in positions:
            yield self.task(position)


def has_two_ids(row: AnyRow) -> bool:
    """Whether a task has both spellings of an id, and they differ: the note of `two_ids`. Null is not an id."""
    return (
        row.id is not UNSET
        and row.instance_id is not UNSET
        and row.instance_id is not None
        and row.id != row.instance_id
    )


def is_null(row: AnyRow) -> bool:
    """Whether a task has no workflow, or null for one."""
    return row.workflow is NOTHING or row.workflow == NULL
