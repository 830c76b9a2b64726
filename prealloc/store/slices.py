"""Slices on disk: the tasks of shards as they were planned. A slice is itself a task library."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from prealloc.errors import Mistake, PlanError
from prealloc.files.paths import PlanPaths
from prealloc.model.packed_task import PackedTask
from prealloc.model.plan import SliceRef
from prealloc.model.timeout import own_timeouts
from prealloc.model.words import brief, shown
from prealloc.store.documents import read_bytes

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

T = TypeVar("T")

PLAN_AGAIN = "make it again with `prealloc plan`, or copy it again from where it was made"
MOST_SLICE_BYTES = 64 * 2**30
"""The same that a library may unpack to."""

SHA256 = re.compile(r"[0-9a-f]{64}")


class Names(NamedTuple):
    """The ids and types of a slice's tasks, without their content: enough to read a journal."""

    ids: list[str]
    types: list[str]

    def by_type(self) -> Counter[str]:
        """How many there are of each type."""
        return Counter(self.types)


class Slice:
    """A slice that was read once. Raises PlanError if there is no such file."""

    def __init__(self, paths: PlanPaths, ref: SliceRef) -> None:
        self.path = paths.slice(ref.sha256)
        # No more is read than was planned: the manifest's digest has been checked, so its size can be believed.
        self.raw = read_bytes(self.path, PlanError, inside=paths.root, hint=PLAN_AGAIN, most=ref.bytes)
        self._ref = ref
        self._digest = hashlib.sha256(self.raw).hexdigest()

    @property
    def as_planned(self) -> bool:
        """Every byte of it is as it was planned; if not, its tasks must not be run."""
        return len(self.raw) == self._ref.bytes and self._digest == self._ref.sha256

    def checked(self) -> Slice:
        """The same. Raises PlanError if a byte of it is not as planned."""
        if not self.as_planned:
            ref = self._ref
            found = differences({"bytes": (len(self.raw), ref.bytes), "sha256": (self._digest, ref.sha256)})
            raise self._refused(f"its content is not what was planned: {found}")
        return self

    def names(self) -> Names:
        """The names of its tasks, of a damaged slice too if they can still be read. Raises PlanError."""
        with self._telling():
            plain = _plain_tasks(self.raw)
            if plain is not None:
                named = [(task.id, task.task_type) for task in plain]
            elif self.as_planned:
                named = [(task.id, task.type) for task in _parse_kept(self.raw)]
            else:
                named = [(task.id, task.task_type) for task in _names_file.decode(self.raw).tasks]
        names = Names([id for id, _ in named], [sys.intern(type) for _, type in named])  # few types, each many times
        self._check_ids(names.ids)
        return names

    def packed(self) -> tuple[PackedTask, ...]:
        """Its tasks, to be passed on. Raises PlanError if a byte of it is not as planned."""
        self.checked()
        with self._telling():
            tasks = tuple(parse_slice(self.raw))
        self._check_ids([task.id for task in tasks])
        return tasks

    def tasks(self) -> tuple[LightweightTask, ...]:
        """Its tasks. Raises PlanError if a byte of it is not as planned."""
        from prealloc.model.task import LightweightTask  # loads pydantic

        return tuple(LightweightTask.trusted(*task) for task in self.packed())

    def timeouts(self, field: str) -> dict[int, float]:
        """The seconds that its tasks have in this field, by position. Raises PlanError."""
        found: list[Mistake] = []
        seconds = own_timeouts(((task.id, task.extra) for task in self.tasks()), field, found)
        if found:
            raise self._refused(f"{found[0].where}: {found[0].problem}")
        return seconds

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Raises PlanError, which names the slice, for bytes that are not a slice."""
        try:
            yield
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise self._refused(f"it is not a slice: {brief(error)}") from None

    def _check_ids(self, ids: Sequence[str]) -> None:
        if len(ids) != self._ref.tasks or len(set(ids)) != len(ids):
            raise self._refused(f"it holds {len(ids)} tasks, but {self._ref.tasks} different ones were planned")

    def _refused(self, problem: str) -> PlanError:
        return PlanError(problem, where=str(self.path), hint=PLAN_AGAIN)


class _File(msgspec.Struct, Generic[T]):
    tasks: list[T]


class _Names(msgspec.Struct):
    id: str
    task_type: str


class _PlainTask(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A task without kept fields: nearly all are."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    task_type: Annotated[str, msgspec.Meta(min_length=1)]
    workflow: msgspec.Raw


_plain_file = msgspec.json.Decoder(_File[_PlainTask])
_kept_file = msgspec.json.Decoder(_File[dict[str, msgspec.Raw]])
_names_file = msgspec.json.Decoder(_File[_Names])


def parse_slice(raw: bytes) -> Iterator[PackedTask]:
    """The tasks in a slice's bytes. Workflows stay bytes. Raises ValueError (msgspec's too)."""
    plain = _plain_tasks(raw)
    if plain is None:
        return _parse_kept(raw)
    return (PackedTask(task.id, task.task_type, bytes(task.workflow), b"{}") for task in plain)


def _plain_tasks(raw: bytes) -> list[_PlainTask] | None:
    """None: there are kept fields, or there is a mistake, which the slow way tells."""
    try:
        return _plain_file.decode(raw).tasks
    except msgspec.ValidationError:
        return None


def _parse_kept(raw: bytes) -> Iterator[PackedTask]:
    text = msgspec.json.Decoder(str).decode
    for fields in _kept_file.decode(raw).tasks:
        try:
            id, type, workflow = text(fields.pop("id")), text(fields.pop("task_type")), bytes(fields.pop("workflow"))
        except KeyError as missing:
            raise ValueError(f"a task has no {missing}") from None
        if not (id and type):
            raise ValueError("a task has an empty id or type")
        extra = msgspec.json.encode(dict(sorted(fields.items()))) if fields else b"{}"
        yield PackedTask(id, type, workflow, extra)


def differences(fields: Mapping[str, tuple[Any, Any]]) -> str:
    """The fields that differ, (as it is, as planned) each, in words."""
    differing = [f"{name} is {_short(is_)}, planned {_short(was)}" for name, (is_, was) in fields.items() if is_ != was]
    return "; ".join(differing)


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and SHA256.fullmatch(value) else shown(value)


def task_digest(task: LightweightTask) -> bytes:
    """The sha256 of everything a worker function can see of a task."""
    parts: list[Any] = [task.id, task.type]
    return hashlib.sha256(msgspec.json.encode(parts) + b"\0" + task.workflow_json + b"\0" + task.extra_json).digest()
