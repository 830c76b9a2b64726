"""What a run's options say for some cells only: `[[run.where]]` in a config, `where=[{"model": "o3", ...}]` in Python.

An entry is a partial cell and the options that hold in the cells that have its values. Where several entries fit, the
last one that says an option decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prealloc.errors import Mistake, refuse
from prealloc.model.cell import means, part_mistakes, text_of
from prealloc.model.options import Reader, Seconds, Whole, is_text, pairs_in, wrong

MOST_CONCURRENCY = 10_000
MOST_ENTRIES = 1_000

TIMEOUT = Seconds(above=True, optional=True)
CONCURRENCY = Whole(1, MOST_CONCURRENCY)

Entry = Mapping[str, Any]

_OPTIONS: dict[str, tuple[str, Reader]] = {
    "timeout": ("timeout_s", TIMEOUT),
    "timeout_s": ("timeout_s", TIMEOUT),
    "concurrency": ("concurrency", CONCURRENCY),
}
"""The fields of RunPolicy that an entry may set, as users and Python call them. These names mean no factor here."""
FIELDS = frozenset(field for field, _ in _OPTIONS.values())

_LIKE, _LIKE_TEXT = 'write it like model = "o3", timeout = "30m"', "write it like model=o3,timeout=30m"


class Where(NamedTuple):
    """Entries, each a table or a text such as model=o3,timeout=30m."""

    metavar: str = "FACTOR=VALUE,OPTION=VALUE"

    def read(self, where: str, value: Any, mistakes: list[Mistake]) -> list[dict[str, Any]]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            mistakes.append(wrong(where, value, "is not a list", f"give a list of tables: {_LIKE}"))
            return []
        if len(value) > MOST_ENTRIES:
            mistakes.append(Mistake(where, f"there are more than {MOST_ENTRIES}", "put some together"))
            return []
        return [_entry(f"{where} {number}", entry, mistakes) for number, entry in enumerate(value, 1)]

    def write(self, entries: Sequence[Entry]) -> str:
        """The entries as one types them: `model=o3,timeout=30m model=o4,concurrency=2`."""
        return " ".join(",".join(_typed(name, value) for name, value in entry.items()) for entry in entries) or "none"

    def schema(self) -> dict[str, Any]:
        scalar = {"type": ["string", "number", "boolean"]}
        options = {"timeout": TIMEOUT.schema(), "concurrency": CONCURRENCY.schema()}
        return {
            "type": "array",
            "items": {"type": "object", "properties": options, "additionalProperties": scalar},
        }


def _entry(where: str, given: Any, mistakes: list[Mistake]) -> dict[str, Any]:
    """An entry: its values of factors, then its options by their fields in RunPolicy."""
    found = len(mistakes)
    table = _parsed(where, given, mistakes) if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        mistakes.append(wrong(where, table, "is not a table", _LIKE))
        return {}
    names = [name for name in table if is_text(where, name, mistakes)]
    part = {name: table[name] for name in names if name not in _OPTIONS}
    options = {}
    for name in names:
        if name in _OPTIONS:
            field, reader = _OPTIONS[name]
            value = table[name]
            if isinstance(given, str) and isinstance(reader, Whole) and value.isdecimal():
                value = int(value)
            options[field] = reader.read(f"{where} {name}", value, mistakes)
    like = _LIKE_TEXT if isinstance(given, str) else _LIKE
    if len(mistakes) == found and not part:
        mistakes.append(Mistake(where, "it names no factor, and so would hold in every cell", like))
    if len(mistakes) == found and not options:
        mistakes.append(Mistake(where, "it sets nothing", f"it can set timeout and concurrency: {like}"))
    mistakes += [
        wrong(f"{where} {name}", value, "is not a factor's value", "give text, a number, true or false")
        for name, value in part.items()
        if not isinstance(value, str | bool | int | float)
    ]
    return {**part, **options}


def _typed(name: str, value: Any) -> str:
    if name == "timeout_s":
        return f"timeout={'none' if value is None else TIMEOUT.write(value)}"
    return f"{name}={value if isinstance(value, str) else text_of(value)}"


def _parsed(where: str, text: str, mistakes: list[Mistake]) -> dict[str, str]:
    pairs = pairs_in(text)
    if any(len(pair) < 2 or not pair[0] for pair in pairs):
        mistakes.append(wrong(where, text, "is not NAME=VALUE,...", _LIKE_TEXT))
        return {}
    return dict(pairs)


def options_in(where: Sequence[Entry], cell: Mapping[str, Any]) -> dict[str, Any]:
    """The options that entries say for a cell, by their fields in RunPolicy."""
    found: dict[str, Any] = {}
    for entry in where:
        if all(name in FIELDS or (name in cell and means(value, cell[name])) for name, value in entry.items()):
            found |= {name: value for name, value in entry.items() if name in FIELDS}
    return found


def refuse_where(where: Sequence[Entry], factors: Mapping[str, Sequence[Any]]) -> None:
    """Raises OptionsError with what is wrong with entries for an experiment with these values of factors."""
    found = []
    for number, entry in enumerate(where, 1):
        part = {name: value for name, value in entry.items() if name not in FIELDS}
        found += part_mistakes(f"‹where› {number}", part, factors, means)
    refuse(found)
