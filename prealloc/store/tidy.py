"""A run as a table: a row for each unit, or for each attempt. Its columns and their types are declared once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.model.json_value import canonical
from prealloc.model.outcome import Attempt, AttemptInfo, Status
from prealloc.model.prices import Prices, cost_of
from prealloc.model.usage import Usage
from prealloc.store.unit_outcome import UnitOutcome

TEXT, WHOLE, REAL, YES_NO = "text", "whole", "real", "yes or no"

COLUMNS = {
    "run": TEXT,
    "plan": TEXT,
    "worker": TEXT,
    "unit": TEXT,
    "shard": TEXT,
    "task": TEXT,
    "type": TEXT,
    "repeat": WHOLE,
    "status": TEXT,
    "first_status": TEXT,
    "success": YES_NO,
    "first_success": YES_NO,
    "score": REAL,
    "attempts": WHOLE,
    "attempt": WHOLE,
    "lane": TEXT,
    "started_at": REAL,
    "queued_s": REAL,
    "waiting_s": REAL,
    "working_s": REAL,
    "peak_rss": WHOLE,
    "input_tokens": WHOLE,
    "output_tokens": WHOLE,
    "cached_tokens": WHOLE,
    "other_tokens": WHOLE,
    "cost": REAL,
    "http_status": WHOLE,
    "error_type": TEXT,
    "error_message": TEXT,
}
"""Of every table. After them come the factors, as f_NAME, and the settings and the result as JSON text."""
_OF_ATTEMPTS = {"late": YES_NO, "again": YES_NO, "reused": TEXT}
FACTOR = "f_"
SETTINGS, RESULT = "settings", "result"


class Origin(NamedTuple):
    """Where a unit is from."""

    run: str
    plan: str
    cell: Mapping[str, Any]


class Shape(NamedTuple):
    """Which columns a table has."""

    factors: tuple[str, ...]
    factor_types: tuple[str, ...]
    results: bool = True
    attempts: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """Their types by their names, in order."""
        named = {f"{FACTOR}{name}": kind for name, kind in zip(self.factors, self.factor_types, strict=True)}
        own = _OF_ATTEMPTS if self.attempts else {}
        return {**COLUMNS, **own, **named, SETTINGS: TEXT, **({RESULT: TEXT} if self.results else {})}


def shape_of(cells: Iterable[Mapping[str, Any]], *, results: bool, attempts: bool) -> Shape:
    """The columns for units of these cells. A factor with values of two kinds is text."""
    values: dict[str, list[Any]] = {}
    for cell in cells:
        for name, value in cell.items():
            values.setdefault(name, []).append(value)
    kinds = tuple(_kind(each) for each in values.values())
    return Shape(tuple(values), kinds, results, attempts)


def unit_row(unit: UnitOutcome, origin: Origin, shape: Shape) -> dict[str, Any]:
    """The row of a unit. Times, lane and error are those of the attempt that counts."""
    ended = unit.read() if shape.results else unit.outcome.attempt if unit.outcome is not None else None
    return _row(unit, origin, shape, unit, ended) | _used(unit.usage, unit.cost)


def attempt_row(unit: UnitOutcome, ended: Attempt, origin: Origin, shape: Shape, prices: Prices) -> dict[str, Any]:
    """The row of one attempt at a unit, whether it counts or not."""
    used = ended.usage if ended.reused is None else None  # else it counts in the run that it is from
    own = {"late": ended.late, "again": ended.again, "reused": ended.reused}
    return _row(unit, origin, shape, ended, ended) | _used(used, cost_of(used, prices).dollars) | own


def _row(
    unit: UnitOutcome, origin: Origin, shape: Shape, judged: UnitOutcome | Attempt, ended: AttemptInfo | None
) -> dict[str, Any]:
    row = dict.fromkeys(shape.columns)
    factors = zip(shape.factors, shape.factor_types, strict=True)
    return row | {
        "run": origin.run,
        "plan": origin.plan,
        "worker": unit.setup.worker,
        "unit": str(unit.unit),
        "shard": unit.shard,
        "task": unit.task,
        "type": unit.type,
        "repeat": unit.repeat,
        "first_status": unit.first_status.value,
        "first_success": unit.first_success,
        "attempts": unit.attempts,
        **{f"{FACTOR}{name}": _as(kind, origin.cell.get(name)) for name, kind in factors},
        SETTINGS: canonical(unit.settings),
        "status": judged.status.value,
        "success": judged.success,
        "score": judged.score,
        **(_ended(ended) if ended is not None else {}),
        **({RESULT: _result(ended)} if shape.results else {}),
    }


def _ended(ended: AttemptInfo) -> dict[str, Any]:
    error = ended.error
    names = ("attempt", "lane", "started_at", "queued_s", "waiting_s", "working_s", "peak_rss")
    row = {name: getattr(ended, name) for name in names}
    if error is not None:
        row |= {"http_status": error.http_status, "error_type": error.type, "error_message": error.message}
    return row


def _used(usage: Usage | None, cost: float | None) -> dict[str, Any]:
    """Tokens of all models. The cached ones are those that were read from a cache; the others are all that is left."""
    if usage is None:
        return {}
    told = list(usage.values())
    return {
        "input_tokens": sum(tokens.input for tokens in told),
        "output_tokens": sum(tokens.output for tokens in told),
        "cached_tokens": sum(tokens.cache_read for tokens in told),
        "other_tokens": sum(tokens.cache_write + tokens.unsplit for tokens in told),
        "cost": cost,
    }


def _result(ended: AttemptInfo | None) -> str | None:
    if not isinstance(ended, Attempt) or ended.status is not Status.OK:
        return None
    return msgspec.json.encode(ended.result).decode()


def _kind(values: Sequence[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return YES_NO
    if any(isinstance(value, bool | str) for value in values):
        return TEXT
    return WHOLE if all(isinstance(value, int) for value in values) else REAL


def _as(kind: str, value: Any) -> Any:
    if value is None or kind != TEXT or isinstance(value, str):
        return float(value) if kind == REAL and value is not None else value
    return msgspec.json.encode(value).decode()
