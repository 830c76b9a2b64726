"""What `prealloc ctl` asks of a run that is running, and what the run answers."""

from __future__ import annotations

from typing import Annotated, Unpack

import msgspec

from prealloc.errors import Mistake, refuse
from prealloc.model.keywords import ChangeOptions
from prealloc.model.options import Number, Option, Text, Whole, read_options
from prealloc.model.plan_spec import MAX_SHARDS
from prealloc.model.where import MOST_CONCURRENCY


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a run that is running goes on from now; what is None stays. Make one with `Change.checked(...)`.

    `Change.checked(workers=10)`, `Change.checked(pause=True)`, `Change.checked(lane="k1", rate=5)`.
    """

    workers: Annotated[int | None, Option(Whole(1, MAX_SHARDS), "Shards at once.", short="w", unset="as it is")] = None
    concurrency: Annotated[
        int | None, Option(Whole(1, MOST_CONCURRENCY), "Tasks at once in each worker.", short="c", unset="as it is")
    ] = None
    pause: bool | None = None
    """True: no further task starts; False: they do again."""
    lane: Annotated[str | None, Option(Text("NAME"), "The lane that ‹rate› changes.", unset="none")] = None
    rate: Annotated[float | None, Option(Number(), "Requests per second of ‹lane›.", unset="as it is")] = None

    @classmethod
    def checked(cls, **options: Unpack[ChangeOptions]) -> Change:
        """The change of these options. Raises OptionsError with every mistake among them."""
        found: list[Mistake] = []
        read = read_options(cls, options, found)
        pause = options.get("pause")
        if pause is not None and not isinstance(pause, bool):
            found.append(Mistake("pause", "it is neither true nor false", "give True or False, or omit it"))
        if (read.get("lane") is None) != (read.get("rate") is None):
            found.append(Mistake("‹lane› and ‹rate›", "each needs the other", "give both, or omit both"))
        refuse(found)
        return cls(**read, pause=pause)


class LaneRate(msgspec.Struct, frozen=True, kw_only=True):
    """A lane of a run that is running."""

    name: str
    per_s: float | None
    """Requests per second that it may send; None: as many as there are."""
    halted: str | None
    """Why it starts no further task."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How a run that is running goes on now: the answer to a Change."""

    workers: int
    """Shards at once."""
    concurrency: int
    """Tasks at once in each worker, where its lane or its cell does not say another number."""
    paused: bool
    stopped: str | None
    """The limit of the whole run that is reached."""
    running: int
    """Shards that run."""
    waiting: int
    """Shards that wait."""
    lanes: tuple[LaneRate, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of the change."""
    mistakes: tuple[tuple[str, str, str], ...] = ()
    """Why nothing was changed."""
