"""Ids that are listed in files, or in Python: the only tasks to plan, and tasks not to plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from prealloc.errors import Mistake, refuse
from prealloc.model.words import brief

IdList = str | Path | Collection[str]
"""The path of a file with an id a line, or a JSON list of them; or the ids."""

_MOST = 1 << 28
# Ids of ten million tasks; a device would be read for ever.


class Listed(NamedTuple):
    """Which tasks may be planned: of `only`, if it is given, those that are not in `never`."""

    only: frozenset[str] | None
    never: frozenset[str]

    def takes(self, id: str) -> bool:
        return id not in self.never and (self.only is None or id in self.only)

    def named(self) -> frozenset[str]:
        """All ids that are listed."""
        return self.never | (self.only or frozenset())

    def digests(self) -> dict[str, str]:
        """What was listed, for the plan."""
        lists = {"ids": self.only, "exclude_ids": self.never or None}
        return {
            name: hashlib.sha256(msgspec.json.encode(sorted(ids))).hexdigest()
            for name, ids in lists.items()
            if ids is not None
        }


def listed_ids(ids: IdList | None, exclude_ids: IdList | None) -> Listed | None:
    """The lists, read; None if there are none. Raises OptionsError."""
    if ids is None and exclude_ids is None:
        return None
    found: list[Mistake] = []
    only = None if ids is None else frozenset(_read("‹ids›", ids, found))
    never = frozenset() if exclude_ids is None else frozenset(_read("‹exclude_ids›", exclude_ids, found))
    if only is not None and not found and not only - never:
        found.append(Mistake("‹ids›", "no id is left in it", "list at least one"))
    refuse(found)
    return Listed(only, never)


def _read(where: str, given: IdList, found: list[Mistake]) -> Iterable[str]:
    hint = "give a file with an id a line, or a JSON list of ids"
    if not isinstance(given, str | Path):
        if all(isinstance(id, str) for id in given):
            return given
        found.append(Mistake(where, "an id in it is not text", hint))
        return ()
    try:
        with open(Path(given).expanduser(), encoding="utf-8-sig") as file:
            text = file.read(_MOST)
            if file.read(1):
                raise ValueError(f"it is longer than {_MOST:,} characters")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        found.append(Mistake(f"{where} {given}", f"it cannot be read: {said}", hint))
        return ()
    if not text.lstrip().startswith("["):
        if keys := _keys(text.lstrip()):
            found.append(Mistake(f"{where} {given}", f"it is a JSON object with {brief(', '.join(keys))}", hint))
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return map(str, msgspec.json.decode(text, type=list[str | int]))
    except msgspec.DecodeError as error:
        found.append(Mistake(f"{where} {given}", f"it is not a list of ids: {brief(error)}", hint))
        return ()


def _keys(text: str) -> list[str]:
    """What is in the JSON object that a text begins with; an id in braces is none."""
    try:
        first, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return []
    return [*first] if isinstance(first, dict) else []
