"""What a plan's cells are, in numbers: from the plan itself, or from its layout before any library is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from prealloc.model.cell import MODEL, Cell, cells_of, designs_of
from prealloc.model.plan import Plan
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.cells import lay_out
from prealloc.planning.estimate import Estimate, ShardLoad
from prealloc.planning.forecast import Forecast

T = TypeVar("T")

ANY_TYPE = ""
"""Stands for the types of tasks while the library has not been read."""


class CellRow(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the experiment."""

    cell: dict[str, Any]
    shards: int
    tasks: int | None
    """None: only the library can tell."""
    lanes: tuple[str, ...]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The cells of a plan, and whether they can be compared task by task."""

    factors: dict[str, tuple[Any, ...]]
    """Every factor with all values that it has in some design."""
    excluded: int
    """Cells of the designs that are left out."""
    cells: tuple[CellRow, ...]
    shards: int
    units: int | None
    paired: bool | None
    """Every cell has the same task ids; None while no library has been read."""
    dropped: dict[str, int]
    """By difficulty: tasks left out because the libraries of others do not hold their ids."""
    designs: int = 1
    """Of which the cells are the union."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan runs, and how long it will take."""

    matrix: Matrix
    estimate: Estimate | None = None
    least_s: float | None = None
    """What the estimate lies between, by the spread of past times over tasks; None without a past."""
    most_s: float | None = None
    forecast: Forecast | None = None
    """Tokens and money; None without a past."""


def matrix_of_plan(plan: Plan) -> Matrix:
    """The matrix of a plan, counted from its tasks."""
    cells = _by_cell((shard.manifest.cell, shard) for shard in plan.shards)
    samples = [{task.id for shard in shards for task in shard.tasks} for _, shards in cells]
    return _matrix(
        plan.spec,
        [
            _row(cell, [shard.manifest.served_by for shard in shards], len(sample))
            for (cell, shards), sample in zip(cells, samples, strict=True)
        ],
        units=sum(entry.units for entry in plan.file.shards),
        paired=all(sample == samples[0] for sample in samples),
        dropped={info.difficulty: info.dropped for info in plan.libraries if info.difficulty and info.dropped},
    )


def matrix_of_spec(spec: PlanSpec) -> Matrix:
    """The matrix that a spec asks for. Raises OptionsError if its shards are too many."""
    cells = _by_cell((shard.cell, shard.lanes) for shard in lay_out(spec))
    loads = loads_of_spec(spec)
    return _matrix(
        spec,
        [_row(cell, lanes, _sample(spec, len(lanes))) for cell, lanes in cells],
        units=sum(sum(load.units.values()) for load in loads) if loads is not None else None,
        paired=None,
        dropped={},
    )


def loads_of_plan(plan: Plan) -> list[ShardLoad]:
    """The work of each shard of a plan."""
    repeats = plan.spec.repeats
    return [
        ShardLoad(
            shard.manifest.planned_lane,
            shard.settings.get(MODEL),
            {kind: count * repeats for kind, count in entry.types.items()},
            shard.manifest.cell,
        )
        for shard, entry in zip(plan.shards, plan.file.shards, strict=True)
    ]


def loads_of_spec(spec: PlanSpec) -> list[ShardLoad] | None:
    """The same before the library is read; None if only the library can tell how many tasks there are."""
    loads = []
    for shard in lay_out(spec):
        tasks = spec.tasks_of_cell(shard.of)
        if tasks is None:
            return None
        # Whatever the strategy, the shards of a cell are equal, or dealt from one sample.
        model = shard.cell.get(MODEL, spec.settings.get(MODEL))
        units = shard.share(tasks) * spec.repeats
        lane = shard.lane.name if shard.lane is not None else None
        loads.append(ShardLoad(lane, model, {ANY_TYPE: units}, shard.cell))
    return loads


def _by_cell(shards: Iterable[tuple[Cell, T]]) -> list[tuple[Cell, list[T]]]:
    """What there is of each cell, in the order of the cells."""
    found: dict[bytes, tuple[Cell, list[T]]] = {}
    for cell, shard in shards:
        found.setdefault(msgspec.json.encode(cell), (cell, []))[1].append(shard)
    return list(found.values())


def _row(cell: Cell, lanes: Sequence[tuple[str, ...]], tasks: int | None) -> CellRow:
    """`lanes` are those of each of its shards."""
    every = dict.fromkeys(lane for each in lanes for lane in each)
    return CellRow(cell=cell, shards=len(lanes), tasks=tasks, lanes=tuple(every))


def _sample(spec: PlanSpec, shards: int) -> int | None:
    """How many different tasks a cell of so many shards has."""
    if spec.strategy == "independent":
        return None
    return spec.tasks_of_cell(shards if spec.strategy == "disjoint" else 1)


def _matrix(
    spec: PlanSpec, rows: Sequence[CellRow], *, units: int | None, paired: bool | None, dropped: dict[str, int]
) -> Matrix:
    return Matrix(
        factors=spec.factor_values,
        designs=len(designs_of(spec.factors)),
        excluded=len(cells_of(spec.factors)) - len(rows),
        cells=tuple(rows),
        shards=sum(row.shards for row in rows),
        units=units,
        paired=paired,
        dropped=dropped,
    )
