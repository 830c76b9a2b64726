"""Tasks by cells: who solved what, the hardest tasks first. By the first outcomes, as rates are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from prealloc.store.comparison import Member
from prealloc.store.unit_outcome import judged

Solved = Literal["always", "never", "flaky", "undecided", "none"]
"""Of all repeats of a task in a cell: `none` has no unit there, `undecided` none that says yes or no."""

MOST_COLUMNS = 30


class TaskCell(NamedTuple):
    """The units of a task in one column."""

    successes: int = 0
    rated: int = 0
    units: int = 0

    @property
    def solved(self) -> Solved:
        if not self.units:
            return "none"
        if not self.rated:
            return "undecided"
        return "flaky" if 0 < self.successes < self.rated else "always" if self.successes else "never"


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task."""

    task: str
    type: str
    cells: tuple[TaskCell, ...]
    successes: int
    rated: int

    @property
    def rate(self) -> float | None:
        return self.successes / self.rated if self.rated else None


class TaskGrid(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks by columns."""

    columns: tuple[dict[str, Any], ...]
    """What each column has of the factors; one that is empty is everything."""
    rows: tuple[TaskRow, ...]
    """The hardest first, those without a rate last."""
    by_none: int
    """Tasks that no unit solved."""
    by_all: int
    flaky: int
    """Tasks that come out both ways within some column."""


def task_grid(members: Sequence[Member], factors: Sequence[str], first: str | None) -> TaskGrid:
    """Columns are the combinations of these factors; if they are too many, the values of the first; else one."""
    choices = [tuple(factors), *([(first,)] if first is not None else [])]
    for names in choices:
        columns = _columns(members, names)
        if len(columns) <= MOST_COLUMNS:
            break
    else:
        names, columns = (), _columns(members, ())
    places = {text: place for place, text in enumerate(columns)}
    counts: dict[str, list[list[int]]] = {}
    types: dict[str, str] = {}
    for member in members:
        unit = member.unit
        if unit.task not in counts:
            counts[unit.task] = [[0, 0, 0] for _ in columns]
            types[unit.task] = unit.type
        mine = counts[unit.task][places[_text(member, names)]]
        value = judged(unit).rated
        mine[2] += 1
        if value is not None:
            mine[0] += int(value)
            mine[1] += 1
    rows = [
        TaskRow(
            task=task,
            type=types[task],
            cells=tuple(TaskCell(*each) for each in cells),
            successes=sum(each[0] for each in cells),
            rated=sum(each[1] for each in cells),
        )
        for task, cells in counts.items()
    ]
    return TaskGrid(
        columns=tuple(columns.values()),
        rows=tuple(sorted(rows, key=lambda row: (row.rate is None, row.rate or 0.0, row.type, row.task))),
        by_none=sum(row.rate == 0 for row in rows),
        by_all=sum(row.rate == 1 for row in rows),
        flaky=sum(any(cell.solved == "flaky" for cell in row.cells) for row in rows),
    )


def _columns(members: Sequence[Member], names: Sequence[str]) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    for member in members:
        text = _text(member, names)
        if text not in found:
            found[text] = {name: member.value(name) for name in names}
    return found


def _text(member: Member, names: Sequence[str]) -> bytes:
    return msgspec.json.encode([member.value(name) for name in names])
