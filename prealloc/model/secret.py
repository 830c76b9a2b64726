"""Whether a value looks like a key itself, where only the name of its environment variable belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prealloc.errors import Mistake

_BEGINS = re.compile(
    r"(sk|pk|rk)[-_][\w-]{8}|Bearer\s|AIza\w{8}|gh[pousr]_\w{8}|github_pat_|xox[abprs]-|hf_[A-Za-z]{20}|gsk_\w{8}|AKIA[A-Z0-9]{8}"
)
"""How the keys of the common services begin."""
_HEX_KEY = re.compile(r"[0-9a-f]{32}")
_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=(?:[^0-9]+[0-9]+){4})[A-Za-z0-9+=_]{32,}")
"""Long, of both cases, and digits in four places: no name that people give."""
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:api[_.-]?keys?|secrets?(?:[_.-]?key)?|passwords?|passwd|access[_.-]?keys?|authorization)$", re.I
)
_TOKEN_NAME = re.compile(r"(?:^|[_.-])token$", re.I)
_ONE_LONG_WORD = re.compile(r"(?=.*\d)[A-Za-z0-9_.+/=-]{16,}")
"""With a digit: no `</s>`, which is a token too."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def looks_secret(value: Any) -> bool:
    """Whether a text looks like a key. Names of models, deployments and environment variables do not."""
    return isinstance(value, str) and bool(
        _BEGINS.match(value) or _HEX_KEY.fullmatch(value) or _RANDOM.fullmatch(value)
    )


def holds_secret(value: Any) -> bool:
    """Whether a text that looks like a key is in it, however deep: then it is not shown."""
    return any(looks_secret(text) for _, text in _texts("", value))


def secret_mistakes(where: str, values: Mapping[str, Any]) -> list[Mistake]:
    """A mistake for each value, however deep, that looks like a key. None of them is shown."""
    return [
        Mistake(
            f"{where} {name}",
            "its value looks like a key, which would lie in every manifest",
            "put the key into an environment variable, and write the variable's name",
        )
        for name, value in sorted(values.items())
        if any(looks_secret(text) or (text and _names_a_secret(key, text)) for key, text in _texts(name, value))
    ]


def _names_a_secret(name: str, text: str) -> bool:
    if _VARIABLE.fullmatch(text):
        return False
    if _TOKEN_NAME.search(name):
        return _ONE_LONG_WORD.fullmatch(text) is not None
    return _SECRET_NAME.search(name) is not None


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(name, inner)
