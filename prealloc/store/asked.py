"""Which units a session is asked for: a part, checked against the run's plan and journal."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prealloc.errors import Mistake, OptionsError
from prealloc.model.cell import means, part_mistakes
from prealloc.model.options import did_you_mean, one_or_several, safely_shown
from prealloc.model.outcome import FINAL, Status
from prealloc.model.part import Part
from prealloc.model.plan import Manifest, PlanFile, Unit
from prealloc.model.words import listed
from prealloc.store.fold import RunState, UnitState
from prealloc.store.slices import Names

_NAMED = 12
"""Values that a hint lists."""


class Asked(NamedTuple):
    """Says of each unit whether it is asked for. As of the beginning of the session: what happens changes nothing."""

    part: Part = Part()
    shards: frozenset[str] | None = None
    """None: of every shard."""
    units: frozenset[Unit] | None = None
    """None: every unit of these shards."""
    reopened: tuple[Unit, ...] = ()
    """Units that have ended and are to run again. Where nothing is left out, `part.failed` says it for all."""

    def __call__(self, unit: Unit, state: UnitState) -> bool:
        return (self.shards is None or unit.shard in self.shards) and (self.units is None or unit in self.units)


EVERYTHING = Asked()


class Planned(NamedTuple):
    """What a part is checked against. `names` gives the ids and types of a shard's tasks."""

    plan: PlanFile
    manifests: Mapping[str, Manifest]
    names: Callable[[str], Names]
    state: RunState | None = None
    """None: of a run that has not begun."""


def asked_of(part: Part, planned: Planned) -> Asked:
    """The units that a part names. Raises OptionsError with every mistake: names that the plan or the run has not."""
    found: list[Mistake] = []
    cells = _cells(part, planned, found)
    types = frozenset(_types(part, planned, found))
    named = frozenset(_shards(part, planned, found))
    units = frozenset(_units(part, planned, found))
    _ended(part, planned, found)
    if found:
        raise OptionsError(found)
    shards = [
        shard
        for shard, manifest in planned.manifests.items()
        if (not part.only or any(_holds(manifest, cell) for cell in cells))
        and (not part.shard or shard in named)
        and (not part.unit or any(unit.shard == shard for unit in units))
    ]
    whole = not (part.type or part.unit or part.error) and part.limit is None
    chosen = None if whole else frozenset(_chosen(part, planned, shards, types, units))
    if not (shards if chosen is None else chosen):
        problem = f"no unit of the plan is all of {part.words()}"
        raise OptionsError([Mistake("the part", problem, "omit one of them; `prealloc show` lists shards and tasks")])
    asked = Asked(part, None if len(shards) == len(planned.manifests) else frozenset(shards), chosen)
    if planned.state is None or part.is_all or not (part.failed or part.error):
        return asked
    ended = ((unit, state) for unit, state in planned.state.units.items() if not state.open and asked(unit, state))
    again = (unit for unit, state in ended if state.status in FINAL and state.status is not Status.OK)
    return asked._replace(reopened=tuple(again))


def _chosen(
    part: Part, planned: Planned, shards: Sequence[str], types: Collection[str], units: Collection[Unit]
) -> Iterator[Unit]:
    """The units of these shards that meet the conditions on units."""
    for shard in shards:
        names, left = planned.names(shard), part.limit
        for repeat in range(planned.manifests[shard].repeats):
            for task, type in zip(names.ids, names.types, strict=True):
                unit = Unit(shard, task, repeat)
                if (part.type and type not in types) or (part.unit and unit not in units):
                    continue
                if part.error and _error(planned, unit) not in part.error:
                    continue
                if left is not None:
                    if left == 0:
                        break
                    left -= 1
                yield unit


def _cells(part: Part, planned: Planned, found: list[Mistake]) -> list[dict[str, Any]]:
    cells = []
    for cell in part.only:
        before = len(found)
        found += part_mistakes("‹only›", cell, planned.plan.spec.factor_values, means)
        if len(found) == before and not any(_holds(each, cell) for each in planned.manifests.values()):
            told = ", ".join(f"{name}={value}" for name, value in cell.items())
            found.append(Mistake("‹only›", f"no cell has {told}", "the plan excludes it; omit one of its values"))
        cells.append(cell)
    return cells


def _holds(manifest: Manifest, cell: Mapping[str, Any]) -> bool:
    return all(name in manifest.cell and means(value, manifest.cell[name]) for name, value in cell.items())


def _types(part: Part, planned: Planned, found: list[Mistake]) -> Sequence[str]:
    known = {type for entry in planned.plan.shards for type in entry.types}
    types = one_or_several(part.type, known)
    found += [
        Mistake("‹type›", f"no task of the plan has type {safely_shown(type)}", did_you_mean(type, known))
        for type in types
        if type not in known
    ]
    return types


def _shards(part: Part, planned: Planned, found: list[Mistake]) -> Sequence[str]:
    found += [
        Mistake("‹shard›", f"the plan has no shard {safely_shown(shard)}", _near_shards(shard, planned))
        for shard in part.shard
        if shard not in planned.manifests
    ]
    return part.shard


def _near_shards(shard: str, planned: Planned) -> str:
    shards = list(planned.manifests)
    close = difflib.get_close_matches(shard, shards, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"its shards are {shards[0]} to {shards[-1]}" if len(shards) > 1 else f"its only shard is {shards[0]}"


def _units(part: Part, planned: Planned, found: list[Mistake]) -> Iterator[Unit]:
    for text in part.unit:
        try:
            yield unit_of(text, planned)
        except OptionsError as whole:
            if "," not in text:
                found += whole.mistakes
                continue
            for piece in text.split(","):
                try:
                    yield unit_of(piece.strip(), planned)
                except OptionsError as error:
                    found += error.mistakes


def unit_of(text: str, planned: Planned, where: str = "‹unit›") -> Unit:
    """The unit that is written like this. Raises OptionsError if the plan has none such."""
    try:
        unit = Unit.parse(text)
    except OptionsError as error:
        raise OptionsError([mistake._replace(where=where) for mistake in error.mistakes]) from None
    manifest = planned.manifests.get(unit.shard)
    if manifest is None:
        hint = _near_shards(unit.shard, planned)
        raise OptionsError([Mistake(where, f"the plan has no shard {safely_shown(unit.shard)}", hint)])
    tasks = planned.names(unit.shard).ids
    if unit.task not in tasks:
        close = difflib.get_close_matches(unit.task, tasks, n=1) or [tasks[0]]
        hint = f"did you mean {unit.shard}/{close[0]}#{unit.repeat}?"
        raise OptionsError([Mistake(where, f"{unit.shard} has no task {safely_shown(unit.task)}", hint)])
    if unit.repeat >= manifest.repeats:
        hint = f"its repeats are #0 to #{manifest.repeats - 1}" if manifest.repeats > 1 else "its only repeat is #0"
        raise OptionsError([Mistake(where, f"{safely_shown(text)} names a repeat that the plan has not", hint)])
    return unit


def _ended(part: Part, planned: Planned, found: list[Mistake]) -> None:
    """What is wrong with conditions on how units have ended."""
    if planned.state is None:
        found += [
            Mistake(f"‹{name}›", "nothing has ended in a run that has not begun", "use it with `prealloc resume`")
            for name, given in (("failed", part.failed), ("error", part.error))
            if given
        ]
        return
    if not part.error:
        return
    types = Counter(error for unit in planned.state.units if (error := _error(planned, unit)) is not None)
    known = [f"{type} ({count})" for type, count in types.most_common()]
    hint = f"its errors are {listed(known, _NAMED)}" if known else "no unit has ended with an error"
    found += [
        Mistake("‹error›", f"no unit has ended with {safely_shown(error)}", hint)
        for error in part.error
        if error not in types
    ]


def _error(planned: Planned, unit: Unit) -> str | None:
    """The type of the error that a unit has ended with."""
    outcome = planned.state.units[unit].outcome if planned.state is not None else None
    return outcome.attempt.error.type if outcome is not None and outcome.attempt.error is not None else None
