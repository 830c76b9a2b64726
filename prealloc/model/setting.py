"""What a setting may be: JSON, so that it can be written down, and no key, since it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from prealloc.errors import Mistake
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.secret import secret_mistakes

SETTINGS_DEPTH = 100


def setting_mistakes(where: str, settings: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong with these settings, each reported under `where` and its name."""
    found = []
    for name, value in settings.items():
        try:
            check_json(value, name, SETTINGS_DEPTH)
        except NoJson as error:
            found.append(Mistake(f"{where} {name}", f"not a JSON value: {error}", "use JSON values only"))
    return found + secret_mistakes(where, settings)


def as_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they read back: a copy of our own, by name, with lists for tuples."""
    stored: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(sorted(settings.items()))))
    return stored
