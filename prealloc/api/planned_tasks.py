"""The tasks of a plan, as they were chosen: which fields they have, and which they lack."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import UnsetType

from prealloc.errors import Mistake, OptionsError
from prealloc.library.rows import fields_of
from prealloc.library.stats import FieldStats, field_stats
from prealloc.model.document import UNREADABLE
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.spelling import EVERY_FIELD, ID_SPELLINGS, IN_EVERY_SLICE, TYPE_SPELLINGS
from prealloc.model.timeout import own_timeouts
from prealloc.model.words import listed, size

if TYPE_CHECKING:
    from prealloc.api.sources import Sources
    from prealloc.model.task import LightweightTask

_SHOWN_FIELDS = 12
_SHOWN_TIMEOUTS = 20


class PlannedTasks(NamedTuple):
    """The tasks that a plan has, by the difficulty of their library and their position."""

    spec: PlanSpec
    sources: Sources
    tasks: Mapping[str | None, Mapping[int, LightweightTask]]

    def every(self) -> Iterator[LightweightTask]:
        """All of them."""
        return (task for each in self.tasks.values() for task in each.values())


class BareTasks(msgspec.Struct, frozen=True, kw_only=True):
    """Planned tasks that hold only an id and a type: a worker that needs more fails in every one of them."""

    tasks: int
    planned: int
    fields: list[FieldStats]
    """What the library has of these tasks, but the plan does not."""

    @property
    def keep(self) -> str:
        """The value of `keep` that ships these fields; empty if there are none."""
        names = [field.name for field in self.fields]
        # A comma, space or quote cannot be said there, and "all" says more than the field of that name.
        plain = EVERY_FIELD not in names and all(re.fullmatch(r"(?!-)[^\s,\"\\\x00-\x1f]+", name) for name in names)
        return ",".join(names) if plain and len(names) <= _SHOWN_FIELDS else EVERY_FIELD

    def __str__(self) -> str:
        which = f"all {self.planned:,}" if self.tasks == self.planned else f"{self.tasks:,} of {self.planned:,}"
        hold = "the only planned task holds" if self.planned == 1 else f"{which} planned tasks hold"
        problem = f"{hold} nothing but an id and a type"
        if not self.fields:
            return f"{problem}, and the library has no other fields of them"
        left = listed((f"{each.name or repr('')} (up to {size(each.largest)})" for each in self.fields), _SHOWN_FIELDS)
        or_all = "" if self.keep == EVERY_FIELD else ", or ‹keep› all for every field"
        return f"{problem}; the library also has {left}: plan again with ‹keep› {self.keep}{or_all}"


def bare_tasks(chosen: PlannedTasks) -> BareTasks | None:
    """The tasks of a plan that hold nothing to work with; None if there are none."""
    spec, sources, tasks = chosen
    no_work = {*spec.shipped} - {*spec.keep}
    found = {
        key: [position for position, task in each.items() if task.workflow_json == b"null" and _is_bare(task, no_work)]
        for key, each in tasks.items()
    }
    count = sum(map(len, found.values()))
    if not count:
        return None
    fields = field_stats(
        _without_names(text, tasks[key][position])
        for key, positions in found.items()
        for position, text in zip(positions, sources.texts(key, positions), strict=True)
    )
    named = {name for info in sources.infos if info.fields for name in (info.fields.id_field, info.fields.type_field)}
    return BareTasks(
        tasks=count,
        planned=sum(map(len, tasks.values())),
        fields=[field for field in fields if field.name not in IN_EVERY_SLICE | named | no_work],
    )


def _without_names(text: bytes, task: LightweightTask) -> bytes:
    """A task's object without those of our spellings that say its id and its type."""
    own = dict.fromkeys(ID_SPELLINGS, task.id) | dict.fromkeys(TYPE_SPELLINGS, task.type)
    fields = fields_of(text)
    for name in own.keys() & fields:
        with suppress(*UNREADABLE):
            if str(msgspec.json.decode(fields[name])) == own[name]:  # or a number
                del fields[name]
    return msgspec.json.encode(fields)


def _is_bare(task: LightweightTask, no_work: Set[str]) -> bool:
    return task.extra_json == b"{}" or (bool(no_work) and task.extra_names() <= no_work)


def look_for_kept(chosen: PlannedTasks, tell: Callable[[str], None]) -> None:
    """Tells which fields to keep some planned tasks lack. Raises OptionsError for those that no task at all has."""
    keep = chosen.spec.keep
    if not keep or EVERY_FIELD in keep:
        return
    planned = [task.extra_names() for task in chosen.every()]
    lacking = {name: sum(name not in names for names in planned) for name in keep}
    absent = {name for name, count in lacking.items() if count == len(planned)}
    _refuse_absent("‹keep›", absent, chosen)
    for name, count in lacking.items():
        if count:
            tell(f"{count} of {len(planned)} planned tasks have no field {name!r}")


def _refuse_absent(where: str, absent: Set[str], chosen: PlannedTasks) -> None:
    """Raises OptionsError for those of these fields, which no planned task has, that the libraries lack altogether."""
    _, sources, tasks = chosen
    for library in sources.libraries.values():
        absent = library.absent(sorted(absent)) if absent else absent
    if absent:
        texts = (text for key, each in tasks.items() for text in sources.texts(key, list(each)))
        there = [field.name for field in field_stats(texts) if field.name not in IN_EVERY_SLICE]
        raise OptionsError([_no_field(where, name, there) for name in sorted(absent)])


def look_for_timeouts(chosen: PlannedTasks, tell: Callable[[str], None]) -> None:
    """Tells how many planned tasks name no timeout of their own. Raises OptionsError for values that are not times."""
    field, found = chosen.spec.timeout_field, list[Mistake]()
    if isinstance(field, UnsetType):
        return
    every = list(chosen.every())
    named = own_timeouts(((task.id, task.extra) for task in every), field, found)
    if found:
        more = len(found) - _SHOWN_TIMEOUTS
        hint = "correct them in the library, or plan without ‹timeout_field›"
        further = [Mistake("‹timeout_field›", f"{more} further tasks have no valid time", hint)] if more > 0 else []
        raise OptionsError([*found[:_SHOWN_TIMEOUTS], *further])
    if not named:
        _refuse_absent("‹timeout_field›", {field}, chosen)
    if left := len(every) - len(named):
        tell(f"{left} of {len(every)} planned tasks have no {field!r}: the ‹timeout_s› of the run holds for them")


def _no_field(where: str, name: str, there: Sequence[str]) -> Mistake:
    close = difflib.get_close_matches(name, there, n=1)
    if close:
        hint = f"did you mean {close[0]}?"
    else:
        known = listed(there, _SHOWN_FIELDS)
        hint = f"its tasks have {known}" if there else "its tasks have no further fields: omit it"
    return Mistake(f"{where} {name}", "no task of the library has such a field", hint)
