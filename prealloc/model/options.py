"""Reads the values of single options, whoever gives them: a command line, a TOML file or Python code.

Each function adds what is wrong to `mistakes` and then gives a value that is no mistake of its own, so that all
mistakes can be told together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prealloc.errors import Mistake
from prealloc.model.json_value import NoJson, check_text, shown

MOST_SECONDS = 366 * 86_400.0
"""A year. Longer times are mistakes, and overflow the system's own clocks."""

MOST_BYTES = 2**62

_FACTORS = {"s": 1, "m": 60, "h": 3600}


def read_whole(where: str, value: Any, mistakes: list[Mistake], *, least: int, most: int | None = None) -> int:
    """A whole number within these bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        mistakes.append(Mistake(where, f"{shown(value)} is no whole number", f"give a whole number from {least} on"))
    elif value < least:
        mistakes.append(Mistake(where, f"{shown(value)} is below {least}", f"give {least} or more"))
    elif most is not None and value > most:
        mistakes.append(Mistake(where, f"{shown(value)} is above {most}", f"give {most} or less"))
    else:
        return value
    return least


def read_flag(where: str, value: Any, mistakes: list[Mistake]) -> bool:
    """True or False, and nothing that could be taken for either."""
    if isinstance(value, bool):
        return value
    mistakes.append(Mistake(where, f"{shown(value)} is neither true nor false", "give true or false, without quotes"))
    return False


def read_names(where: str, value: Any, mistakes: list[Mistake]) -> tuple[str, ...]:
    """Names, each once. One text is a mistake: its letters would be taken for the names."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        mistakes.append(Mistake(where, f"{shown(value)} is no list", "give a list of names, such as ['a', 'b']"))
        return ()
    texts = [name for name in value if _is_name(where, name, mistakes)]
    mistakes += [Mistake(where, "an empty name", "leave it out") for name in texts if not name]
    mistakes += [
        Mistake(where, f"{shown(name)} is named {texts.count(name)} times", "name it once")
        for name in sorted({name for name in texts if texts.count(name) > 1})
    ]
    return tuple(texts)


def read_named(where: str, value: Any, mistakes: list[Mistake]) -> dict[str, Any]:
    """Values by name; None is none of them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        mistakes.append(Mistake(where, f"{shown(value)} is no table", "give a value for each name, such as {'a': 1}"))
        return {}
    return {name: each for name, each in value.items() if _is_name(where, name, mistakes)}


def read_seconds(where: str, value: Any, mistakes: list[Mistake], *, above: bool = False) -> float:
    """A time in seconds, up to a year: a number, or a text that may end in a unit, such as 90s, 10m, 2h.

    With `above` it must be more than 0.
    """
    if value is None or _is_none(value):
        mistakes.append(Mistake(where, "it cannot be none", "write a time, such as 3600 or 10m"))
        return 1.0
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        found = re.fullmatch(r"(-?\d+(?:\.\d*)?|-?\.\d+)\s*([smh]?)", value.strip().lower())
        seconds = float(found[1]) * _FACTORS[found[2] or "s"] if found else math.nan
    if not math.isfinite(seconds):
        mistakes.append(Mistake(where, f"{shown(value)} is no time", "write seconds, or 90s, 10m, 2h"))
    elif seconds < 0 or (above and seconds == 0):
        mistakes.append(
            Mistake(where, f"{shown(value)} is {'not above' if above else 'below'} 0", "give a longer time")
        )
    elif seconds > MOST_SECONDS:
        mistakes.append(Mistake(where, f"{shown(value)} is longer than a year", "give a shorter time, or none"))
    else:
        return seconds
    return 1.0


def read_seconds_or_none(where: str, value: Any, mistakes: list[Mistake], *, above: bool = False) -> float | None:
    """The same, or None or `none` for no limit."""
    return None if value is None or _is_none(value) else read_seconds(where, value, mistakes, above=above)


def read_bytes_or_none(where: str, value: Any, mistakes: list[Mistake], *, least: int) -> int | None:
    """Bytes: a number, or a text with a unit (512MB, 2GB: powers of 1024); None or `none` for no limit."""
    if value is None or _is_none(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return read_whole(where, value, mistakes, least=least, most=MOST_BYTES)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", value.strip().upper()) if isinstance(value, str) else None
    if found is None:
        mistakes.append(Mistake(where, f"{shown(value)} is no size", "write bytes, or 512MB, 2GB, or none"))
        return None
    size = min(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "), float(2 * MOST_BYTES))  # not inf
    return read_whole(where, int(size), mistakes, least=least, most=MOST_BYTES)


def _is_name(where: str, name: Any, mistakes: list[Mistake]) -> bool:
    try:
        if isinstance(name, str):
            check_text(name, ascii(name))
            return True
        problem = f"{shown(name)} is no name"
    except NoJson as error:
        problem = str(error)
    mistakes.append(Mistake(where, problem, "give text"))
    return False


def _is_none(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() == "none"
