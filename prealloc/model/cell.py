"""Cells: the combinations of an experiment's factors, in the order in which the factors and their values are given.

An experiment is one design, or several: then its cells are those of the first, the new ones of the second, and so on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from prealloc.errors import Mistake
from prealloc.model.lane import MODEL as MODEL
from prealloc.model.lane import OF_THE_LANE, Lane
from prealloc.model.options import safely_shown, wrong

Cell = dict[str, Any]
"""{factor: value}. The empty cell is that of an experiment without factors."""

Design = Mapping[str, Sequence[Any]]
"""The values of each factor: all of their combinations."""
Factors = Design | Sequence[Design]
"""One design, or several that name the same factors."""

DIFFICULTY = "difficulty"
"""The factor that chooses the library."""

MOST_CELLS = 100_000
MOST_DESIGNS = 1_000
MOST_EXCLUDES = 1_000


def designs_of(factors: Factors) -> tuple[Design, ...]:
    """The designs of an experiment. Without factors it is one, which names none."""
    return (factors,) if isinstance(factors, Mapping) else tuple(factors)


def values_of(factors: Factors) -> dict[str, tuple[Any, ...]]:
    """Every factor with all values that it has in some design, in the order in which they come first."""
    found: dict[str, dict[str, Any]] = {}
    for design in designs_of(factors):
        for name, values in design.items():
            mine = found.setdefault(name, {})
            for value in values:
                mine.setdefault(text_of(value), value)
    return {name: tuple(values.values()) for name, values in found.items()}


def cells_of(factors: Factors, exclude: Sequence[Mapping[str, Any]] = ()) -> list[Cell]:
    """Every combination of the values of a design, design by design, but those that hold a partial cell in `exclude`.

    A cell that several designs have is there once, where the first of them has it. All cells name the factors in the
    order of the first design.
    """
    designs = designs_of(factors)
    left_out = [{(name, text_of(value)) for name, value in part.items()} for part in exclude]
    # By values as JSON text, made once each: 1, 1.0 and true are three values.
    found: dict[tuple[str, ...], Cell] = {}
    for design in designs:
        places = [list(design).index(name) for name in designs[0]]
        choices = [[(name, value, text_of(value)) for value in values] for name, values in design.items()]
        for product in itertools.product(*choices):
            chosen = [product[place] for place in places]
            texts = tuple(text for _, _, text in chosen)
            pairs = {(name, text) for name, _, text in chosen}
            if texts not in found and not any(part <= pairs for part in left_out):
                found[texts] = {name: value for name, value, _ in chosen}
    return list(found.values())


def lanes_of(cell: Cell, lanes: Sequence[Lane], settings: Mapping[str, Any]) -> list[Lane]:
    """The lanes that serve a cell's model, in the order they are given."""
    model = cell.get(MODEL, settings.get(MODEL))
    return [lane for lane in lanes if lane.serves(model)]


def settings_of(cell: Cell, lane: Lane | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a shard's worker function sees: the settings of all, the cell's factors, and how to reach its lane.

    The settings of a manifest are those without a lane. Its lane's are merged here when its worker starts.
    """
    return {**settings, **cell, **(lane.for_workers if lane is not None else {})}


def factor_mistakes(
    factors: Factors,
    exclude: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    lanes: Sequence[Lane],
) -> list[Mistake]:
    """What is wrong with factors and excludes, alone and together with settings and lanes."""
    designs = designs_of(factors)
    if len(designs) > MOST_DESIGNS:
        return [Mistake("‹factors›", f"there are more than {MOST_DESIGNS} designs", "put some together")]
    found = [mistake for number, design in enumerate(designs, 1) for mistake in _design(number, design, designs)]
    names = list(dict.fromkeys(name for design in designs for name in design))
    hint = "keep one of them: a factor is given to workers as a setting"
    found += [Mistake(f"‹factors› {name}", "it is a setting too", hint) for name in names if name in settings]
    found += _clashes_of_lanes(names, settings, lanes)
    if found:
        return found  # excludes and lanes would be judged by values that are not meant
    if sum(math.prod(map(len, design.values())) for design in designs) > MOST_CELLS:
        return [Mistake("‹factors›", f"they have more than {MOST_CELLS} combinations", "take fewer values")]
    if len(exclude) > MOST_EXCLUDES:
        return [Mistake("‹exclude›", f"there are more than {MOST_EXCLUDES}", "omit some values of factors")]
    values = values_of(factors)
    found = [mistake for number, part in enumerate(exclude, 1) for mistake in _partial(number, part, values)]
    cells = cells_of(factors, [part for part in exclude if isinstance(part, Mapping) and part])
    if not cells and not found:
        found.append(Mistake("‹exclude›", "no cell is left", "exclude less"))
    return found + _not_served(cells, lanes, settings)


def _clashes_of_lanes(factors: Sequence[str], settings: Mapping[str, Any], lanes: Sequence[Lane]) -> Iterator[Mistake]:
    """Settings that a shard would get from its lane and from elsewhere."""
    given = {name for lane in lanes for name in lane.for_workers}
    if given & {*OF_THE_LANE.values()}:
        given |= {*OF_THE_LANE.values()}
    for name in factors:
        if name in given:
            hint = "give the factor another name"
            yield Mistake(f"‹factors› {name}", "a shard gets this setting from its lane", hint)
    for lane in lanes:
        for name in lane.settings or ():
            if name in settings:
                hint = "keep one of them: what is not the same for all lanes stands in each lane"
                yield Mistake(f"lane {lane.name} settings {name}", "it is a setting of all shards too", hint)


def _design(number: int, design: Design, designs: Sequence[Design]) -> list[Mistake]:
    """What is wrong with one design, alone and beside the others."""
    where = "‹factors›" if len(designs) == 1 else f"‹factors› {number}"
    found = [mistake for name, values in design.items() for mistake in _values(where, name, values)]
    every = dict.fromkeys(name for each in designs for name in each)
    lacking = [name for name in every if name not in design]
    if lacking and not design:
        return [Mistake(where, "it names no factor", "omit it, or give it values of every factor")]
    return found + [
        Mistake(
            f"{where} {name}",
            "the design does not name this factor, and another one does",
            f'give it the value that its cells have: {name} = ["..."]',
        )
        for name in lacking
    ]


def _values(design: str, name: str, values: Any) -> list[Mistake]:
    where = f"{design} {name}"
    if not name:
        return [Mistake(design, "a factor has no name", "give it one")]
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        return [Mistake(where, "it is not a list of values", 'write ["a", "b"], with at least one value')]
    odd = [value for value in values if not _is_scalar(value)]
    if odd:
        return [wrong(where, odd[0], "is not text, a number, true or false", "give each value as one of them")]
    if name == DIFFICULTY and not all(isinstance(value, str) for value in values):
        return [Mistake(where, "it names files, so its values must be texts", 'write them like ["1", "2"]')]
    texts = [text_of(value) for value in values]
    return [
        wrong(where, value, f"appears {texts.count(text)} times", "name it once")
        for text, value in dict(zip(texts, values, strict=True)).items()
        if texts.count(text) > 1
    ]


def _partial(number: int, part: Mapping[str, Any], factors: Mapping[str, Sequence[Any]]) -> list[Mistake]:
    where = f"‹exclude› {number}"
    if not isinstance(part, Mapping) or not part:
        return [Mistake(where, "it names no factor, and so would exclude every cell", 'write, say, model = "a"')]
    return part_mistakes(where, part, factors, same)


def part_mistakes(
    where: str, part: Mapping[str, Any], factors: Mapping[str, Sequence[Any]], fits: Callable[[Any, Any], bool]
) -> list[Mistake]:
    """What is wrong with a partial cell, for these values of factors."""
    found = []
    for name, value in part.items():
        if name not in factors:
            hint = f"use one of {', '.join(factors)}" if factors else "there are no factors at all: omit it"
            found.append(Mistake(f"{where} {name}", "there is no such factor", hint))
        elif not any(fits(value, known) for known in factors[name]):
            known_values = ", ".join(map(safely_shown, factors[name]))
            found.append(Mistake(f"{where} {name}", f"no cell has {safely_shown(value)}", f"use one of {known_values}"))
    return found


def _not_served(cells: Sequence[Cell], lanes: Sequence[Lane], settings: Mapping[str, Any]) -> list[Mistake]:
    if not lanes:
        return []
    unserved = dict.fromkeys(
        safely_shown(cell.get(MODEL, settings.get(MODEL))) for cell in cells if not lanes_of(cell, lanes, settings)
    )
    if safely_shown(None) in unserved:
        hint = "name the model, as a factor or in ‹settings›; or omit `models` of a lane: it then serves all"
        return [Mistake("‹lanes›", "no lane serves cells without a model", hint)]
    return [
        Mistake("‹lanes›", f"no lane serves the model {model}", "add it to the `models` of a lane, or exclude it")
        for model in unserved
    ]


def same(one: Any, other: Any) -> bool:
    """As JSON: 1, 1.0 and true are three values."""
    return text_of(one) == text_of(other)


def means(given: Any, known: Any) -> bool:
    """Whether a value that was given is this one of a factor. Text may mean a number: a command line has no other."""
    return same(given, known) or (isinstance(given, str) and given == text_of(known))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def text_of(value: Any) -> str:
    """A value as JSON text; as Python shows it, if it is not JSON."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)
