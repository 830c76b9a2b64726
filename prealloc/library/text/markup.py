"""YAML and TOML as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.text.refuse import text_lines
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.words import brief

MARKUP = (".yaml", ".yml", ".toml")
_MOST = 64 << 20
_DEEP_KEY = re.compile(r"""(?m)^[ \t[]*(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){200}""")
# tomllib takes memory by the square of the parts of a key.


def json_of(pieces: Iterable[bytes], ending: str, where: str) -> bytes:
    """A text as JSON; several documents in a YAML file as one list. Raises LibraryError."""
    name = "TOML" if ending == ".toml" else "YAML"
    try:
        text = "".join(text_lines(pieces, where))
        value = _toml(text) if name == "TOML" else _yaml(text, where)
        check_json(value, "task")
    except (ValueError, NoJson, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else brief(error)
        problem = f"it is not {name} that JSON can hold: {said.partition('; use sys.')[0]}"
        raise LibraryError(problem, where=where, hint="fix the file, or move it away") from None
    return msgspec.json.encode(value)


def _toml(text: str) -> Any:
    import tomllib

    if _DEEP_KEY.search(text):
        raise ValueError("a key of 200 parts or more")
    return json.loads(json.dumps(tomllib.loads(text), default=lambda date: date.isoformat()))


def _yaml(text: str, where: str) -> Any:
    try:
        from prealloc.library.text import plain_yaml
    except ImportError as error:
        raise LibraryError(f"YAML needs PyYAML ({error})", where=where, hint="pip install 'prealloc[yaml]'") from None

    values = plain_yaml.documents(text)
    if _size(values, {}) > max(_MOST, 16 * len(text)):
        raise ValueError(plain_yaml.TOO_MUCH)
    if all(isinstance(value, list) for value in values):
        return [task for tasks in values for task in tasks]
    return values[0] if len(values) == 1 else values


def _size(value: Any, known: dict[int, int]) -> int:
    """About how long a value is as JSON, where what an alias names is written again."""
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        text = len(value) if isinstance(value, str) else 1
        known[id(value)] = text + sum(_size(part, known) for part in parts)
    return known[id(value)]
