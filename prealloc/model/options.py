"""Options declared once: a field of a struct, with how its value is read, what users call it, and what it means.

    class RunPolicy(Document):
        drain_s: Annotated[float, Option(Seconds(), "Time for running tasks to end ...", "drain")] = 10.0

The struct's `checked` reads values through the declaration (`read_options`); the command line, the config's sections
and schema, and the reference are made from it. In Python an option has its field's name, which says its unit; on the
command line and in a config the name that users call it by. Messages write the field's name between ‹ and ›, marks that
no user types, and whoever shows them spells it as it is spelled there (`spelled`).

A reader adds what is wrong to `mistakes` and then gives a value that is valid in itself, so that all mistakes
can be told together.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar, get_type_hints

import msgspec

from prealloc.errors import Mistake, refuse
from prealloc.model import words
from prealloc.model.json_value import NoJson, check_text
from prealloc.model.secret import holds_secret

T = TypeVar("T")

MOST_SECONDS = 366 * 86_400.0
"""A year. Longer times are mistakes, and overflow the system's own clocks."""

MOST_BYTES = 2**62
MOST_NUMBER = 1e300

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"": 1, **{f"{unit}B": 1000**n for n, unit in enumerate("KMGT", 1)}}
_BYTES |= {f"{unit}IB": 1024**n for n, unit in enumerate("KMGT", 1)}


class Reader(Protocol):
    """Reads the values of an option. `metavar` says what to give on a command line, `schema` what a config may hold."""

    @property
    def metavar(self) -> str: ...
    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any: ...
    def schema(self) -> dict[str, Any]: ...


class Option(NamedTuple):
    """How an option is read, and told to users."""

    reader: Reader
    help: str
    name: str = ""
    """What users call it, with _ between words; empty: as the field."""
    short: str = ""
    """One letter for the command line."""
    group: str = ""
    unset: str = ""
    """What holds where the default is None."""


@cache
def options_of(struct: type) -> dict[str, Option]:
    """The declared options of a struct, by field."""
    found = {}
    for field, hint in get_type_hints(struct, include_extras=True).items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, Option):
                found[field] = option if option.name else option._replace(name=field)
    return found


def read_options(struct: type, given: Mapping[str, Any], mistakes: list[Mistake], where: str = "") -> dict[str, Any]:
    """The given values of a struct's options, each read. `where` comes before their names in mistakes.

    An option whose default is None takes None, whatever its reader says.
    """
    options, defaults = options_of(struct), _defaults(struct)
    read: dict[str, Any] = {}
    for field, value in given.items():
        if field in options and value is None and defaults[field] is None:
            read[field] = None
        elif field in options:
            read[field] = options[field].reader.read(f"{where}‹{field}›", value, mistakes)
        elif field not in defaults:
            mistakes.append(Mistake(f"{where}{field}", "there is no such option", did_you_mean(field, options)))
    return read


def checked_options(struct: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The same of all that is given. Raises OptionsError with every mistake."""
    found: list[Mistake] = []
    read = read_options(struct, given, found)
    refuse(found)
    return read


@cache
def _defaults(struct: type) -> dict[str, Any]:
    return {each.name: each.default for each in msgspec.structs.fields(struct)}


def read_keywords(struct: type[T], keywords: Mapping[str, Any], mistakes: list[Mistake]) -> T:
    """The options of a call, each read. A keyword that is None says nothing."""
    given = {name: value for name, value in keywords.items() if value is not None}
    return struct(**read_options(struct, given, mistakes))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What was probably meant; else all that there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(names)}"


_FIELD = re.compile(r"‹([a-z][a-z_]*)›")


def spelled(text: str, spelling: Callable[[str], str | None]) -> str:
    """The text with each marked option as `spelling` spells it; what it gives None for stays."""
    return _FIELD.sub(lambda found: spelling(found[1]) or found[0], text)


class Whole(NamedTuple):
    """A whole number within these bounds."""

    least: int
    most: int | None = None
    optional: bool = False
    metavar: str = "N"
    share: bool = False
    """A share may be given too, as a text such as 10%: see `share_of`."""

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any:
        if (self.optional and is_none(value)) or (self.share and share_of(value)):
            return None if is_none(value) else value
        if isinstance(value, bool) or not isinstance(value, int):
            hint = f"give a whole number from {self.least} on"
            mistakes.append(wrong(where, value, "is not a whole number", hint))
        elif value < self.least:
            mistakes.append(wrong(where, value, f"is below {self.least}", f"give {self.least} or more"))
        elif self.most is not None and value > self.most:
            mistakes.append(wrong(where, value, f"is above {self.most}", f"give {self.most} or less"))
        else:
            return value
        return self.least

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.least} | ({"maximum": self.most} if self.most is not None else {})
        others = [{"type": "string", "pattern": "%$"}] if self.share else []
        others += [{"const": "none"}] if self.optional else []
        number = {"type": "integer", **bounds}
        return {"anyOf": [number, *others]} if others else number


def share_of(value: Any) -> float | None:
    """The share that a text such as 10% says, above 0 and up to 1; None for all else."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", value) if isinstance(value, str) else None
    share = float(found[1]) / 100 if found else 0.0
    return share if 0 < share <= 1 else None


class Share(NamedTuple):
    """A part of the whole, between 0 and 1 and neither of them (with `ends` also these): 0.05, or text such as 5%."""

    ends: bool = False
    metavar: str = "P%"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> float:
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*(%?)", value.strip()) if isinstance(value, str) else None
        share = float(found[1]) / (100 if found[2] else 1) if found else value
        if _is_number(share) and (0 < share < 1 or (self.ends and share in (0, 1))):
            return float(share)
        between = "from 0% to 100%" if self.ends else "between 0% and 100%"
        mistakes.append(wrong(where, value, f"is not a share {between}", "write it like 5% or 0.05"))
        return 0.5

    def write(self, value: float) -> str:
        """As one would write it: 0.05 is 5%."""
        return f"{value * 100:g}%"

    def schema(self) -> dict[str, Any]:
        return {"type": ["number", "string"]}


class Number(NamedTuple):
    """A finite number above 0."""

    metavar: str = "NUMBER"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> float:
        if _is_number(value) and 0 < value < MOST_NUMBER:
            return value
        mistakes.append(wrong(where, value, "is not a number above 0", "give a number above 0"))
        return 1.0

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum": 0}


class Dollars(NamedTuple):
    """An amount of money from 0 on, or above it; as a number, or a text such as $50."""

    above: bool = False
    optional: bool = False
    metavar: str = "DOLLARS"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any:
        if self.optional and is_none(value):
            return None
        given = value
        if isinstance(value, str) and re.fullmatch(r"\$?\s*\d{1,12}(\.\d{1,9})?", value.strip()):
            value = float(value.strip().removeprefix("$"))
        if _is_number(value) and 0 <= value < MOST_NUMBER and not (self.above and value == 0):
            return float(value)
        least = "above 0" if self.above else "from 0 on"
        mistakes.append(wrong(where, given, f"is not an amount of dollars {least}", "write it like 50 or 2.5"))
        return 1.0

    def write(self, value: float) -> str:
        """As one would write it: `$50`, `$2.50`."""
        return f"${value:,.0f}" if value == int(value) else f"${value:,.2f}"

    def schema(self) -> dict[str, Any]:
        bound = {"exclusiveMinimum": 0} if self.above else {"minimum": 0}
        number = {"type": "number", **bound}
        return {"anyOf": [number, {"type": "string"}]} if self.optional else number


class Flag(NamedTuple):
    """True or False, and nothing that could be taken for either."""

    metavar: str = ""

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> bool:
        if isinstance(value, bool):
            return value
        mistakes.append(wrong(where, value, "is neither true nor false", "give true or false, without quotes"))
        return False

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(NamedTuple):
    """A text, in full of the `pattern` if there is one, which `needed` says in words."""

    metavar: str = "TEXT"
    pattern: str | None = None
    needed: str = ""

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> str:
        if not is_text(where, value, mistakes):
            return ""
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            mistakes.append(wrong(where, value, "is not valid", f"give {self.needed}"))
        text: str = value
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string"} | ({"pattern": f"^{self.pattern}$"} if self.pattern is not None else {})


class OneOf(NamedTuple):
    """One of these values."""

    values: tuple[Any, ...]

    @property
    def metavar(self) -> str:
        return f"[{'|'.join(map(str, self.values))}]"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any:
        if any(type(value) is type(each) and value == each for each in self.values):
            return value
        mistakes.append(wrong(where, value, "is unknown", f"use one of {', '.join(map(str, self.values))}"))
        return self.values[0]

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Names(NamedTuple):
    """Names, each once. One text is a mistake, unless it is `every`: its letters would be taken for the names."""

    metavar: str = "NAMES"
    every: str = ""
    commas: bool = False
    """A text with commas may be one name or several: who knows the names decides, by `one_or_several`."""
    alone: bool = False
    """One text is one name."""
    whole: bool = False
    """Each text is one name, whatever commas are in it."""

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> tuple[str, ...]:
        if self.alone and isinstance(value, str):
            value = [value]
        if self.every and value == self.every:
            return (self.every,)
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            mistakes.append(wrong(where, value, "is not a list", "give a list of names, such as ['a', 'b']"))
            return ()
        texts = [name for name in value if is_text(where, name, mistakes)]
        mistakes += [Mistake(where, "an empty name", "omit it") for name in texts if not name]
        mistakes += [
            wrong(where, name, f"is named {texts.count(name)} times", "name it once")
            for name in sorted({name for name in texts if texts.count(name) > 1})
        ]
        return tuple(texts)

    def schema(self) -> dict[str, Any]:
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [names, {"const": self.every}]} if self.every else names


class Sizes(NamedTuple):
    """Whole numbers from 1 on, whose sum is at most `most`: a list, or a text such as 3,1."""

    most: int
    metavar: str = "N,N,..."

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> tuple[int, ...]:
        given = value
        if isinstance(value, str):
            given = [int(each) if each.strip().isdecimal() else each for each in value.split(",")]
        if isinstance(given, bytes | Mapping) or not isinstance(given, Sequence) or not given:
            mistakes.append(wrong(where, value, "is not a list of numbers", "write it like 3,1"))
            return ()
        before = len(mistakes)
        sizes = tuple(Whole(1, self.most).read(where, each, mistakes) for each in given)
        if sum(sizes) > self.most:
            mistakes.append(Mistake(where, f"their sum is above {self.most}", "give smaller numbers"))
        return sizes if len(mistakes) == before else ()

    def schema(self) -> dict[str, Any]:
        return {"type": ["array", "string"], "items": {"type": "integer", "minimum": 1}, "minItems": 1}


def one_or_several(texts: Iterable[str], known: Container[str]) -> tuple[str, ...]:
    """The names in these texts: each is one name if it is known, or has no comma, and else several."""
    found = (
        name for text in texts for name in ([text] if text in known else [each.strip() for each in text.split(",")])
    )
    return tuple(sorted(set(found)))


def pairs_in(text: str) -> list[list[str]]:
    """The names and values of NAME=VALUE,...; a comma that no name and equals sign follow is part of a value."""
    return [[each.strip() for each in piece.split("=", 1)] for piece in re.split(r",(?=[^,=]+=)", text)]


class Cells(NamedTuple):
    """Partial cells: tables {factor: value}, or texts such as model=o3,prompt_type=cot; one of them, or a list."""

    metavar: str = "FACTOR=VALUE"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> tuple[dict[str, Any], ...]:
        given = [value] if isinstance(value, str | Mapping) else value
        if isinstance(given, bytes) or not isinstance(given, Sequence):
            hint = "give factor values, such as {'model': 'a'} or 'model=a'"
            mistakes.append(wrong(where, value, "names no cells", hint))
            return ()
        return tuple(self._cell(where, each, mistakes) for each in given)

    def _cell(self, where: str, given: Any, mistakes: list[Mistake]) -> dict[str, Any]:
        cell: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
        for name, *texts in pairs_in(given) if isinstance(given, str) else ():
            if not name or not texts:
                mistakes.append(wrong(where, given, f"is not {self.metavar}", "write it like model=o3,prompt_type=cot"))
            elif name in cell:
                hint = f"a comma means and; for or, give {where} twice"
                mistakes.append(wrong(where, given, f"names {name} twice", hint))
            else:
                cell[name] = texts[0]
        if not (isinstance(given, str) or cell):
            mistakes.append(wrong(where, given, "names no factor", "write it like model=o3"))
        return {name: each for name, each in cell.items() if is_text(where, name, mistakes)}

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["object", "string"]}}


class Table(NamedTuple):
    """Values by name; None stands for an empty table. `values`, if there is one, reads each."""

    values: Reader | None = None
    metavar: str = "NAME=VALUE"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            mistakes.append(wrong(where, value, "is not a table", "give a value for each name, such as {'a': 1}"))
            return {}
        read = self.values.read if self.values is not None else lambda where, each, mistakes: each
        return {
            name: read(f"{where} {name}", each, mistakes)
            for name, each in value.items()
            if is_text(where, name, mistakes)
        }

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.values.schema() if self.values is not None else {}}


class Seconds(NamedTuple):
    """A time, up to a year: seconds as a number, or a text that may end in a unit, such as 90s, 10m, 2h."""

    above: bool = False
    """It must be more than 0."""
    optional: bool = False
    metavar: str = "DURATION"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any:
        if is_none(value):
            if not self.optional:
                mistakes.append(Mistake(where, "it cannot be none", "write a time, such as 3600 or 10m"))
            return None if self.optional else 1.0
        seconds = math.nan
        if _is_number(value):
            # An int may be too large for a float.
            seconds = value if isinstance(value, float) else float(max(-1, min(value, int(2 * MOST_SECONDS))))
        elif isinstance(value, str):
            found = re.fullmatch(r"(-?\d+(?:\.\d*)?|-?\.\d+)\s*([smh]?)", value.strip().lower())
            seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else math.nan
        if not math.isfinite(seconds):
            mistakes.append(wrong(where, value, "is not a time", "write seconds, or 90s, 10m, 2h"))
        elif seconds < 0 or (self.above and seconds == 0):
            bound = "not above" if self.above else "below"
            mistakes.append(wrong(where, value, f"is {bound} 0", "give a longer time"))
        elif seconds > MOST_SECONDS:
            mistakes.append(wrong(where, value, "is longer than a year", "give a shorter time, or none"))
        else:
            return seconds
        return 1.0

    def write(self, seconds: float) -> str:
        """The time as a text that reads as it: `10m`."""
        unit = next((each for each in "hm" if seconds and seconds % _SECONDS[each] == 0), "s")
        return f"{seconds / _SECONDS[unit]:g}{unit}"

    def schema(self) -> dict[str, Any]:
        return {"type": ["number", "string"]}


class Bytes(NamedTuple):
    """A number of bytes, or a text with a unit: 512MB is 512 * 1000**2 bytes, 512MiB 512 * 1024**2."""

    least: int = 0
    most: int = MOST_BYTES
    optional: bool = False
    metavar: str = "BYTES"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> Any:
        if self.optional and is_none(value):
            return None
        if isinstance(value, str):
            found = re.fullmatch(r"(\d{1,30}(?:\.\d+)?)\s*([KMGT]?I?B?)", value.strip().upper())
            unit = _BYTES.get(found[2].removesuffix("B") + "B" if found[2] not in ("", "B") else "") if found else None
            if found is None or unit is None:
                hint = "write bytes, or 512MB (1000s), 512MiB (1024s)" + (", or none" if self.optional else "")
                mistakes.append(wrong(where, value, "is not a size", hint))
                return None if self.optional else self.least
            value = int(min(float(found[1]) * unit, float(2 * MOST_BYTES)))
        return Whole(self.least, self.most).read(where, value, mistakes)

    def write(self, count: int) -> str:
        """The size as a text that reads as it: `16MiB`."""
        unit, factor = max(((unit, n) for unit, n in _BYTES.items() if count % n == 0), key=lambda each: each[1])
        return f"{count // factor}{unit.replace('IB', 'iB')}"

    def schema(self) -> dict[str, Any]:
        return {"type": ["integer", "string"]}


def wrong(where: str, value: Any, problem: str, hint: str) -> Mistake:
    """The mistake of a value, which is shown unless it may be a key."""
    return Mistake(where, f"{safely_shown(value)} {problem}", hint)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_none(value: Any) -> bool:
    """None, or the text `none`, which stands for it where there is no other word: TOML has no null."""
    return value is None or (isinstance(value, str) and value.strip().lower() == "none")


def safely_shown(value: Any) -> str:
    """A value in a message. A key that got into the wrong place is not shown."""
    return "what is given" if holds_secret(value) else words.shown(value)


def is_text(where: str, name: Any, mistakes: list[Mistake]) -> bool:
    """Whether it is text that JSON can hold; if not, that is a mistake."""
    try:
        if isinstance(name, str):
            check_text(name, ascii(name))
            return True
        problem = f"{safely_shown(name)} is not a name"
    except NoJson as error:
        problem = str(error)
    mistakes.append(Mistake(where, problem, "give text"))
    return False
