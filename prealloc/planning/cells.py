"""From the cells of an experiment to its shards: how many each is cut into, on which lanes, and with which tasks.

Every cell has the same tasks, whatever the number of its lanes: only how the one sample is dealt depends on that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.cell import Cell, cells_of, lanes_of
from prealloc.model.lane import Lane
from prealloc.model.plan_spec import MAX_SHARDS, PlanSpec
from prealloc.planning.deal import hands_of
from prealloc.planning.planner import choose_tasks, shard_ids

_LONGEST_ID = 100
_LONGEST_NUMBER = 6
_NO_SLUG = re.compile(r"[^a-z0-9._-]+")


class CellShard(NamedTuple):
    """One shard of a cell: the `number`-th of `of`, and the lane that it is dealt to."""

    id: str
    cell: Cell
    lane: Lane | None
    number: int
    of: int
    sizes: tuple[int, ...] = ()
    """Those of the cell's shards to each other; empty: they are equal."""
    serving: tuple[Lane, ...] = ()
    """All lanes that serve the cell."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The names of the lanes that may serve it, its own first."""
        return tuple(dict.fromkeys(lane.name for lane in (self.lane, *self.serving) if lane is not None))

    def share(self, tasks: int) -> int:
        """How many of a cell's tasks it gets, when they are dealt like cards."""
        if not self.sizes:
            return len(range(self.number, tasks, self.of))
        return sum(len(range(hand, tasks, sum(self.sizes))) for hand in hands_of(self.sizes)[self.number])


def lay_out(spec: PlanSpec) -> list[CellShard]:
    """The shards of a spec, cell by cell. Raises OptionsError if they are too many.

    A cell has `spec.shards` shards. Where it is the cell whose tasks are counted (num_instances_per_cell, per_cell), it
    has one for each lane that serves it at least, unless there are fewer tasks than lanes. Each shard goes to the lane
    that has the fewest of this cell's, then to the one with the fewest tasks so far, then to the first.
    """
    cells = [(cell, lanes_of(cell, spec.lanes, spec.settings)) for cell in cells_of(spec.factors, spec.exclude)]
    shards = [spec.shards_of_cell(len(lanes)) for _, lanes in cells]
    if sum(shards) > MAX_SHARDS:
        raise OptionsError([Mistake("‹factors›", f"{sum(shards)} shards are too many", f"make {MAX_SHARDS} at most")])
    load = dict.fromkeys((lane.name for lane in spec.lanes), 0)
    laid: list[CellShard] = []
    for (cell, lanes), of in zip(cells, shards, strict=True):
        tasks = spec.tasks_of_cell(of) or of
        mine = {lane.name: 0 for lane in lanes}
        for number in range(of):
            lane = min(lanes, key=lambda lane: (mine[lane.name], load[lane.name]), default=None)
            shard = CellShard("", cell, lane, number, of, spec.shard_sizes or (), tuple(lanes))
            laid.append(shard)
            if lane is not None:
                mine[lane.name] += 1
                load[lane.name] += shard.share(tasks)
    ids = cell_shard_ids([shard.cell for shard in laid]) if spec.factors else shard_ids(len(laid))
    return [shard._replace(id=id) for shard, id in zip(laid, ids, strict=True)]


def choose_for_cells(
    spec: PlanSpec,
    laid: Sequence[CellShard],
    ids: Sequence[str],
    types: Sequence[str],
    available: Mapping[str, int] | None = None,
) -> list[list[int]]:
    """For each shard the positions of its tasks in `ids`, in the shard's order: `choose_tasks` for each cell.

    Cells of the same number of shards are dealt alike, so each number is worked out once. Raises OptionsError.
    """
    dealt = {
        of: choose_tasks(msgspec.structs.replace(spec, shards=of), ids, types, available)
        for of in dict.fromkeys(shard.of for shard in laid)
    }
    return [dealt[shard.of][shard.number] for shard in laid]


def cell_shard_ids(cells: Sequence[Cell]) -> list[str]:
    """An id for a shard of each of these cells: its values as a file name may spell them, and a number.

    Cells whose values are spelled alike are numbered together, so that no two ids are the same.
    """
    slugs = [_slug(cell) for cell in cells]
    ids = {slug: iter(shard_ids(count, f"{slug}.")) for slug, count in Counter(slugs).items()}
    return [next(ids[slug]) for slug in slugs]


def _slug(cell: Cell) -> str:
    most = _LONGEST_ID - _LONGEST_NUMBER - 1
    parts = [_part(value) for value in cell.values()]
    if len(".".join(parts)) > most:
        # All a little shorter rather than the last ones gone: they tell as much as the first.
        each = max(1, (most + 1) // len(parts) - 1)
        parts = [part[:each].strip(".-_") or "x" for part in parts]
    return ".".join(parts)[:most].rstrip(".-_")


def _part(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return _NO_SLUG.sub("-", text.lower()).strip(".-_") or "x"
