"""What every way to reach a task library has in common.

A format does three things: it says who the tasks are (`ids`, `types`), gives the text of any task (`texts`), and
proves that what it gives is what was written. The rest is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from prealloc.errors import LibraryError
from prealloc.files.paths import readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.rows import FIELDS, NOTHING, NULL, Counts, field_of, fields_of, named, row_type
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, IN_EVERY_SLICE, TYPE_SPELLINGS
from prealloc.model.words import brief
from prealloc.processes.setting import COLLECTING

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

AGAIN = "copy it again, or make it again: prealloc library convert, from the library it was made of"


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
        fields = FIELDS.decode(self.text)
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


_STEP = 1 << 14


def refused(error: StrictJsonError, where: str, name: str = "") -> LibraryError:
    """The error of a task of which strict JSON refuses something, in the field `name` if one is given."""
    path = f"{name}{(error.path or '$')[1:]}".removeprefix(".")
    hint = f"fix this value {f'in the {name} ' if name else ''}of the task, or leave the task out"
    return LibraryError(error.problem, where=f"{where}, at {path}" if path else where, hint=hint)


def info_of(
    library: Path | str, *, size: int, sha256: str, types: Mapping[str, int], fields: Fields = COMMON
) -> LibraryInfo:
    """The fingerprint of a library that lies at a path (a text: of one that is not a file). `types` counts its tasks.

    Bytes of its path that are not text become escapes, so that JSON can hold them. Such a path does not find the
    library again, and the guard of a run (worker/guard.py) does not know it: that is accepted, for plan.json must be
    JSON.
    """
    return LibraryInfo(
        path=library if isinstance(library, str) else readable_name(str(library.absolute())),
        name=readable_name(Path(library).name),
        bytes=size,
        sha256=sha256,
        tasks=sum(types.values()),
        types=dict(sorted(types.items())),
        fields=UNSET if fields == COMMON else fields,
    )


Add = Callable[[Record], None]
"""Takes tasks one after the other into a new file or folder, which is there when the last one is."""


class Library(ABC):
    """A task library that is open: who its tasks are, and any of them on demand. Positions count from 0."""

    way: str
    """How its tasks are reached, in a word: what `library stats` tells."""
    note: str | None = None
    """A sentence on how its tasks are named; None if there was nothing to choose."""
    took: str | None = None
    """A sentence on which file of a folder this is; None if there was nothing to choose."""

    def __init__(
        self, info: LibraryInfo, ids: Sequence[str], types: Sequence[str], counts: Counts, keep: tuple[str, ...]
    ) -> None:
        self.info = info
        """The fingerprint: what plan.json says of it."""
        self.ids = ids
        """Of all tasks; of a stream, of those that its shortlist wanted."""
        self.types = types
        """The type of `ids[i]`."""
        self.counts = counts
        """Of all tasks."""
        self._keep = keep
        self._decoder = msgspec.json.Decoder[Any](row_type((*ID_SPELLINGS, *TYPE_SPELLINGS, *keep)))

    def __len__(self) -> int:
        return self.info.tasks

    def hashes(self) -> Sequence[int] | None:
        """`stable_hash` of every id, if they are at hand: then a plan need not look at every id."""
        return None

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """The positions of these ids, without those that are not there."""
        wanted = set(ids)
        return {id: place for place, id in enumerate(self.ids) if id in wanted}

    @abstractmethod
    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        """The JSON text of each of these tasks with all its fields, as it lies in the library. Raises LibraryError."""

    def objects(self, positions: Sequence[int]) -> Iterator[bytes]:
        """The same as compact JSON, checked strictly. Raises LibraryError."""
        for position, text in zip(positions, self.texts(positions), strict=True):
            yield self._compact(position, "", text)

    def absent(self, names: Iterable[str]) -> set[str]:
        """Which of these fields, that are to be kept, no task has. May read all tasks to know. Raises LibraryError."""
        missing, order = set(names), range(len(self.ids))
        texts = (text for at in range(0, len(order), _STEP) for text in self.texts(order[at : at + _STEP]))
        while missing and (text := next(texts, None)) is not None:
            missing -= fields_of(text).keys()
        return missing

    def task(self, position: int) -> LightweightTask:
        """The task at a position, its workflow and kept fields compacted and checked. Raises LibraryError."""
        return next(self._tasks([position]))

    def tasks(self, positions: Iterable[int]) -> list[LightweightTask]:
        """`task(position)` for each of the positions."""
        with COLLECTING.at(False):
            return list(self._tasks(positions))

    def _tasks(self, positions: Iterable[int]) -> Iterator[LightweightTask]:
        from prealloc.model.task import LightweightTask  # it loads pydantic: only who makes tasks does

        asked, keeps_all = list(positions), EVERY_FIELD in self._keep
        texts = self.objects(asked) if keeps_all else self.texts(asked)
        for position, text in zip(asked, texts, strict=True):
            try:
                row = self._decoder.decode(text)
                names = named(row)
            except UNREADABLE as error:  # as it was written, but not JSON
                problem = f"it is not a task: {brief(error)}"
                raise LibraryError(problem, where=self._place(position), hint=AGAIN) from None
            own = (self.ids[position], self.types[position])
            if names != own:
                raise LibraryError("another task is where this one should be", where=self._place(position), hint=AGAIN)
            keep = sorted(row.keys() - IN_EVERY_SLICE) if keeps_all else self._keep
            held = {name: raw for name in (*keep, "workflow") if (raw := field_of([row], name)[0]) is not NOTHING}
            if not keeps_all:  # else all of it is compact
                held = {name: Raw(self._compact(position, name, raw)) for name, raw in held.items()}
            workflow = bytes(held.pop("workflow", NULL))
            # The id and type were checked by the scan; validating again would cost more than the compacting.
            yield LightweightTask.trusted(*own, workflow, msgspec.json.encode(held))

    def _compact(self, position: int, name: str, raw: bytes | Raw) -> bytes:
        """A value of a task without needless space. Raises LibraryError."""
        try:
            return compact(raw)
        except StrictJsonError as error:
            place = self._place(position, bytes(raw), error.offset or 0)
            raise refused(error, place, name) from None

    def _place(self, position: int, raw: bytes = b"", offset: int = 0) -> str:
        """Where a task is; `offset` counts from the beginning of `raw` in it."""
        return f"{self.info.path}, task {position} (id {ascii(self.ids[position])[:80]})"
