"""Cells: the combinations of an experiment's factors, in the order in which the factors and their values are given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from prealloc.errors import Mistake
from prealloc.model.lane import Lane
from prealloc.model.options import shown

Cell = dict[str, Any]
"""{factor: value}. The empty cell is that of an experiment without factors."""

MODEL = "model"
"""The factor, or else the setting, by which lanes know whether they serve a cell."""
DIFFICULTY = "difficulty"
"""The factor that chooses the library."""
OF_THE_LANE = ("deployment", "api_key_env")
"""Settings that a shard gets from its lane."""

MOST_CELLS = 100_000
MOST_EXCLUDES = 1_000


def cells_of(factors: Mapping[str, Sequence[Any]], exclude: Sequence[Mapping[str, Any]] = ()) -> list[Cell]:
    """Every combination of the factors' values but those that hold one of the partial cells in `exclude`."""
    # Values as JSON text, made once each: 1, 1.0 and true are three values.
    choices = [[(name, value, _text(value)) for value in values] for name, values in factors.items()]
    parts = [{(name, _text(value)) for name, value in part.items()} for part in exclude]
    return [
        {name: value for name, value, _ in chosen}
        for chosen in itertools.product(*choices)
        if not (parts and _holds_one(parts, {(name, text) for name, _, text in chosen}))
    ]


def lanes_of(cell: Cell, lanes: Sequence[Lane], settings: Mapping[str, Any]) -> list[Lane]:
    """The lanes that serve a cell's model, in the order they are given."""
    model = cell.get(MODEL, settings.get(MODEL))
    return [lane for lane in lanes if lane.serves(model)]


def settings_of(cell: Cell, lane: Lane | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a shard's worker function sees: the settings of all, the cell's factors, and how to reach its lane.

    The settings of a manifest are those without a lane. Its lane's are merged here when its worker starts.
    """
    given = (lane.deployment, lane.key_env) if lane is not None else (None, None)
    of_lane = {name: value for name, value in zip(OF_THE_LANE, given, strict=True) if value is not None}
    return {**settings, **cell, **of_lane}


def factor_mistakes(
    factors: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    lanes: Sequence[Lane],
) -> list[Mistake]:
    """What is wrong with factors and excludes, alone and together with settings and lanes."""
    found = [mistake for name, values in factors.items() for mistake in _values(name, values)]
    found += [
        Mistake(
            f"‹factors› {name}", "it is a setting too", "keep one of them: a factor is given to workers as a setting"
        )
        for name in factors
        if name in settings
    ]
    if any(lane.deployment or lane.key_env for lane in lanes):
        found += [
            Mistake(f"‹factors› {name}", "a shard gets this setting from its lane", "give the factor another name")
            for name in OF_THE_LANE
            if name in factors
        ]
    if found:
        return found  # excludes and lanes would be judged by values that are not meant
    if math.prod(map(len, factors.values())) > MOST_CELLS:
        return [Mistake("‹factors›", f"they have more than {MOST_CELLS} combinations", "take fewer values")]
    if len(exclude) > MOST_EXCLUDES:
        return [Mistake("‹exclude›", f"there are more than {MOST_EXCLUDES}", "omit some values of factors")]
    found = [mistake for number, part in enumerate(exclude, 1) for mistake in _partial(number, part, factors)]
    cells = cells_of(factors, [part for part in exclude if isinstance(part, Mapping) and part])
    if not cells and not found:
        found.append(Mistake("‹exclude›", "no cell is left", "exclude less"))
    return found + _not_served(cells, lanes, settings)


def _values(name: str, values: Any) -> list[Mistake]:
    where = f"‹factors› {name}"
    if not name:
        return [Mistake("‹factors›", "a factor has no name", "give it one")]
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        return [Mistake(where, "it is not a list of values", 'write ["a", "b"], with at least one value')]
    odd = [value for value in values if not _is_scalar(value)]
    if odd:
        return [
            Mistake(where, f"{shown(odd[0])} is not text, a number, true or false", "give each value as one of them")
        ]
    if name == DIFFICULTY and not all(isinstance(value, str) for value in values):
        return [Mistake(where, "it names files, so its values must be texts", 'write them like ["1", "2"]')]
    texts = [_text(value) for value in values]
    return [
        Mistake(where, f"{shown(value)} appears {texts.count(text)} times", "name it once")
        for text, value in dict(zip(texts, values, strict=True)).items()
        if texts.count(text) > 1
    ]


def _partial(number: int, part: Mapping[str, Any], factors: Mapping[str, Sequence[Any]]) -> list[Mistake]:
    where = f"‹exclude› {number}"
    if not isinstance(part, Mapping) or not part:
        return [Mistake(where, "it names no factor, and so would exclude every cell", 'write, say, model = "a"')]
    found = []
    for name, value in part.items():
        if name not in factors:
            found.append(Mistake(f"{where} {name}", "there is no such factor", f"use one of {', '.join(factors)}"))
        elif not any(same(value, known) for known in factors[name]):
            known_values = ", ".join(map(shown, factors[name]))
            found.append(Mistake(f"{where} {name}", f"no cell has {shown(value)}", f"use one of {known_values}"))
    return found


def _not_served(cells: Sequence[Cell], lanes: Sequence[Lane], settings: Mapping[str, Any]) -> list[Mistake]:
    if not lanes:
        return []
    unserved = dict.fromkeys(
        shown(cell.get(MODEL, settings.get(MODEL))) for cell in cells if not lanes_of(cell, lanes, settings)
    )
    if shown(None) in unserved:
        hint = "name the model, as a factor or in ‹settings›; or omit `models` of a lane: it then serves all"
        return [Mistake("‹lanes›", "no lane serves cells without a model", hint)]
    return [
        Mistake("‹lanes›", f"no lane serves the model {model}", "add it to the `models` of a lane, or exclude it")
        for model in unserved
    ]


def _holds_one(parts: Sequence[set[tuple[str, str]]], cell: set[tuple[str, str]]) -> bool:
    return any(part <= cell for part in parts)


def same(one: Any, other: Any) -> bool:
    """As JSON: 1, 1.0 and true are three values."""
    return _text(one) == _text(other)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)
