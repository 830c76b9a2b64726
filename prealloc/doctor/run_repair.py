"""Repairs the journal of a run without a master, and says which units run again because of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prealloc.doctor.finding import Repaired
from prealloc.doctor.run_checks import strays_of
from prealloc.errors import RunFolderError
from prealloc.files.lock import RunLock
from prealloc.model.plan import Unit
from prealloc.model.words import quoted
from prealloc.store.fold import UnitState, fold
from prealloc.store.health import Damage, examine
from prealloc.store.repair import repair
from prealloc.store.run_folder import OpenRun


def repair_run(root: Path) -> Repaired:
    """Moves everything that is not a line of the run out of its journal, to `journal-aside/`. Readable lines stay.

    Raises RunFolderError and PlanError (nothing was changed), also while a master or a stray of the run lives;
    JournalError if the disk does not take it.
    """
    opened = OpenRun(root)
    with RunLock(opened.paths.lock):
        strays = strays_of(opened.paths, opened)
        if strays:
            raise RunFolderError(
                f"{len(strays)} of its processes still run, and may write to its journal",
                where=str(root),
                hint="end them: kill -9 " + " ".join(str(stray.pid) for stray in strays),
            )
        opened.check_slices()
        units = list(opened.units())
        health = examine(opened.paths, units)
        moved = repair(opened.paths, health)
        again = run_again(health.damage, fold(opened.paths, units).units)
    return Repaired(
        moved=tuple(moved),
        again=tuple(map(str, again)),
        resume=f"prealloc resume {quoted(root)}",
    )


def run_again(damage: Sequence[Damage], states: Mapping[Unit, UnitState]) -> list[Unit]:
    """The open units that one of these pieces may have held the outcome of, in the plan's order.

    The unit itself where it can still be read; else any of the file's shard; else, in a supervisor's or an unknown
    file, any at all.
    """
    known = {piece.unit for piece in damage if piece.unit is not None}
    shards = {piece.shard for piece in damage if piece.unit is None}
    return [
        unit
        for unit, state in states.items()
        if state.open and (unit in known or unit.shard in shards or None in shards)
    ]
