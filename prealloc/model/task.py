"""The task as a worker sees it: id, type, workflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from functools import cached_property
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from prealloc.errors import LibraryError
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, IN_EVERY_SLICE, TYPE_SPELLINGS
from prealloc.model.words import cut


class LightweightTask(BaseModel):
    """One task of a slice: its id, its type and its workflow, and nothing else unless asked.

    The workflow travels as the JSON bytes it was planned with. `task.workflow` decodes them on first use
    and keeps the value in this object, so a task that is never looked at costs no decoding, and pickling
    one copies bytes instead of walking a tree. `extra` holds the fields named with `--keep`.
    """

    # Its validator is built when a task is first validated: plans and slices hold tasks that were before.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str = Field(min_length=1)
    type: str = Field(min_length=1)
    workflow_json: bytes = b"null"
    extra_json: bytes = b"{}"

    def __repr_args__(self) -> Iterable[tuple[str, Any]]:
        # For repr, str and rich alike: with none of the workflow's bytes.
        yield from (("id", cut(self.id)), ("type", cut(self.type)), ("workflow_bytes", len(self.workflow_json)))

    @cached_property
    def workflow(self) -> Any:
        """The workflow, decoded: any JSON value, None if the library has none for this task."""
        return msgspec.json.decode(self.workflow_json)

    @cached_property
    def extra(self) -> dict[str, Any]:
        """The kept fields, decoded: `{name: JSON value}`."""
        value: dict[str, Any] = msgspec.json.decode(self.extra_json)
        return value

    def extra_names(self) -> Set[str]:
        """The names of the kept fields; their values are not decoded."""
        return msgspec.json.decode(self.extra_json, type=dict[str, msgspec.Raw]).keys()

    @classmethod
    def from_dict(cls, task: Mapping[str, Any], *, keep: tuple[str, ...] = ()) -> LightweightTask:
        """A task from a library's own object, in any of the library's spellings.

        Takes `id` or `instance_id`, `task_type` or `type`, `workflow` (may be missing), and of the other fields those
        named in `keep`, or with "all" every one. Raises LibraryError for what is not a mapping, for an id or type that
        is missing or not a string, and for values that are not JSON.
        """
        if not isinstance(task, Mapping):
            raise LibraryError(
                f"the task is not an object but {type(task).__name__}", hint="give a dict with id and type"
            )
        if EVERY_FIELD in keep:
            keep = tuple(sorted(task.keys() - IN_EVERY_SLICE))
        return cls(
            id=_named(task, ID_SPELLINGS),
            type=_named(task, TYPE_SPELLINGS),
            workflow_json=_encoded("workflow", task.get("workflow")),
            extra_json=_encoded("extra", {name: task[name] for name in keep if name in task}),
        )

    def to_dict(self) -> dict[str, Any]:
        """The task as a library spells it: `id`, `task_type`, `workflow` and the kept fields on top."""
        return {"id": self.id, "task_type": self.type, "workflow": self.workflow, **self.extra}

    @classmethod
    def trusted(cls, id: str, type: str, workflow_json: bytes, extra_json: bytes) -> LightweightTask:
        """A task from values that were validated before: validating again would cost 10 times as much."""
        return _restore(id, type, workflow_json, extra_json)

    def fresh(self) -> LightweightTask:
        """The same task with nothing decoded yet: what one attempt may change, no other attempt sees."""
        return _restore(self.id, self.type, self.workflow_json, self.extra_json)

    def __reduce__(self) -> tuple[Any, ...]:
        # Four strings and bytes: microseconds, and no decoded value is ever shipped.
        return _restore, (self.id, self.type, self.workflow_json, self.extra_json)

    @model_validator(mode="before")
    @classmethod
    def _accept_values(cls, data: Any) -> Any:
        """Lets `LightweightTask(id=..., type=..., workflow={...})` be written with plain values."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for name in ("workflow", "extra"):
            if name in data:
                data[f"{name}_json"] = _encoded(name, data.pop(name))
        return data

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        shown = {"id": self.id, "type": self.type, "workflow": self.workflow}
        return {**shown, "extra": self.extra} if self.extra else shown


def _named(task: Mapping[str, Any], spellings: tuple[str, str]) -> str:
    for name in spellings:
        value = task.get(name)
        if isinstance(value, str) and value:
            _encoded(name, value)
            return value
    raise LibraryError(
        f"the task has no {spellings[0]}",
        where=f"fields {', '.join(sorted(map(str, task)))}",
        hint=f"give it a string that is not empty in {spellings[0]!r} or {spellings[1]!r}",
    )


def _encoded(name: str, value: Any) -> bytes:
    try:
        check_json(value, name)
    except NoJson as error:
        raise LibraryError(f"not a JSON value: {error}", where=name, hint="use JSON values only") from None
    return msgspec.json.encode(value)


_FIELDS = frozenset(LightweightTask.model_fields)
# A frozen model refuses attributes, and object.__setattr__ looks each of them up.
_set_fields, _set_extra, _set_private = (
    BaseModel.__dict__[f"__pydantic_{slot}__"].__set__ for slot in ("fields_set", "extra", "private")
)


def _restore(id: str, type: str, workflow_json: bytes, extra_json: bytes) -> LightweightTask:
    # What model_construct does, less what this class has no use for: it is a third of a no-op task's cost.
    task = LightweightTask.__new__(LightweightTask)
    fields = task.__dict__
    fields["id"] = id
    fields["type"] = type
    fields["workflow_json"] = workflow_json
    fields["extra_json"] = extra_json
    _set_fields(task, {*_FIELDS})
    _set_extra(task, None)
    _set_private(task, None)
    return task
