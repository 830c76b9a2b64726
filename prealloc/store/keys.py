"""What outcomes are grouped by: shards and tasks, settings, fields of tasks and of results."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.model.json_value import canonical
from prealloc.model.questions import TASK, ResultsOptions
from prealloc.store.unit_outcome import UnitOutcome

KEYS = ("shard", "type", "task", "repeat", "status")
"""What outcomes can always be grouped by; the names of settings come on top."""
FURTHER_KEYS = ("error.type", "error.http_status", "lane", "worker")
"""What they can be grouped by too, unless a setting or a field has that name."""
RUN = "run"
"""The key of several runs: which of them a unit is of."""
SETTINGS_PREFIX = "settings."
"""`settings.type` is the setting named `type`, where `type` alone is the task's."""


def known_keys(outcomes: Iterable[UnitOutcome]) -> list[str]:
    """What these can be grouped by, fields of their results aside."""
    outcomes = list(outcomes)
    settings = {name for outcome in outcomes for name in outcome.settings}
    kept = {name for outcome in outcomes for name in outcome.kept} - settings - {*KEYS}
    runs = [RUN] if len({outcome.run for outcome in outcomes}) > 1 else []
    named = sorted(f"{SETTINGS_PREFIX}{name}" if name in KEYS else name for name in settings)
    further = [key for key in FURTHER_KEYS if key not in settings | kept]
    return [*runs, *KEYS, *further, *named, *sorted(kept)]


def check_keys(asked: ResultsOptions, known: Sequence[str], fields: Container[str]) -> None:
    """Raises OptionsError for what is asked for and not there. `fields`: those of which a mean can be had."""
    there = ", ".join(dict.fromkeys(known))
    keys = [("by", key) for key in asked.by] + ([("cluster", asked.cluster)] if asked.cluster != TASK else [])
    mistakes = [
        Mistake(f"‹{option}› {key}", "there is no such key", f"use one of {there}, or a field of the results")
        for option, key in keys
        if not _is_known(key, known)
    ]
    mistakes += [
        Mistake(f"‹mean› {name}", "there is no such field", "name a field that results or tasks have as a number")
        for name in asked.mean
        if name not in fields
    ]
    for option, names in (("by", asked.by), ("mean", asked.mean)):
        mistakes += [
            Mistake(f"‹{option}› {key}", f"is given {names.count(key)} times", "give it once")
            for key in dict.fromkeys(names)
            if names.count(key) > 1
        ]
    if mistakes:
        raise OptionsError(mistakes)


def _is_known(key: str, known: Sequence[str]) -> bool:
    plain = key if key in known else key.removeprefix(SETTINGS_PREFIX)
    return plain in known and not (key != plain and plain in KEYS)


def key_value(outcome: UnitOutcome, key: str) -> Any:
    """The key's value; None for a setting that this shard does not have."""
    if key in KEYS:
        value = getattr(outcome, key)
        return str(value) if key == "status" else value
    settings, plain = outcome.settings, key.removeprefix(SETTINGS_PREFIX)
    found = next((each for each in (settings, outcome.kept, outcome.result_fields) if key in each), {})
    if found:
        return found[key]
    if key in FURTHER_KEYS:
        attempt = outcome.outcome.attempt if outcome.outcome is not None else None
        further = {"worker": outcome.setup.worker, "lane": attempt.lane if attempt is not None else None}
        return further[key] if key in further else getattr(outcome.error, key.partition(".")[2], None)
    if key == RUN and key not in settings:
        return outcome.run
    return settings[plain] if plain in settings else _in_object(outcome, key)


def cluster_of(unit: UnitOutcome, key: str) -> str:
    """What a unit is one of many of: its task, or the value of this key."""
    return unit.task if key == TASK else canonical(key_value(unit, key))


def place_of(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text, then anything else; what is missing last."""
    if value is None:
        return 3, 0.0, ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def with_result_fields(outcomes: Sequence[UnitOutcome], names: Sequence[str]) -> tuple[list[UnitOutcome], list[str]]:
    """The outcomes with these fields of their first results, and those names that some result has."""
    if not names:
        return list(outcomes), []
    found: dict[str, None] = {}
    filled = []
    for outcome in outcomes:
        ended = outcome.read_first()
        fields = {name: value for name in names if (value := _field(ended.result if ended else None, name)) is not None}
        found.update(dict.fromkeys(fields))
        filled.append(msgspec.structs.replace(outcome, result_fields=fields))
    return filled, list(found)


def with_numbers(outcomes: Sequence[UnitOutcome], names: Sequence[str]) -> tuple[list[UnitOutcome], set[str]]:
    """The outcomes with the numbers that these fields have, and those names of which some unit has a value.

    A field is one of the result, else a kept one of the task, else a setting.
    """
    if not names:
        return list(outcomes), set()
    found: set[str] = set()
    filled = []
    for outcome in outcomes:
        ended = outcome.read_first()
        places = (ended.result if ended else None, outcome.kept, outcome.settings)
        values = {name: [_field(place, name.removeprefix(SETTINGS_PREFIX)) for place in places] for name in names}
        first = {name: next((value for value in each if value is not None), None) for name, each in values.items()}
        numbers = {
            name: float(value)
            for name, value in first.items()
            if isinstance(value, int | float) and abs(value) <= sys.float_info.max
        }
        found.update(name for name, value in first.items() if value is not None)
        filled.append(msgspec.structs.replace(outcome, numbers=numbers))
    return filled, found


def paths_in(outcomes: Iterable[UnitOutcome], names: Iterable[str]) -> list[str]:
    """Those of the names that are paths into a kept field or a setting."""
    dotted = [name for name in names if "." in name]
    every = list(outcomes) if dotted else []
    return [name for name in dotted if any(_in_object(outcome, name) is not None for outcome in every)]


def _in_object(outcome: UnitOutcome, name: str) -> Any:
    """What stands at a path in a setting or a kept field."""
    found = _field(outcome.settings, name)
    return _field(outcome.kept, name) if found is None else found


def _field(place: Any, name: str) -> Any:
    """What stands there: at the name itself, else at the path `a.b`; a number is a place in a list."""
    head, dot, rest = name.partition(".")
    if isinstance(place, list):
        found = place[int(head)] if head.isdecimal() and len(head) < 10 and int(head) < len(place) else None
        return _field(found, rest) if dot else found
    if not isinstance(place, dict):
        return None
    if name in place:
        return place[name]
    return _field(place.get(head), rest) if dot else None
