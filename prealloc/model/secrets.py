"""Whether a setting holds a secret: plans and runs go to disk, where no key may ever be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_NAME_OF_A_KEY = re.compile(
    r"(?:^|[_.-])(?:api[_.-]?keys?|secrets?(?:[_.-]?key)?|passwords?|passwd|authorization|access[_.-]?keys?)$"
)
_NAME_OF_A_TOKEN = re.compile(r"(?:^|[_.-])token$")
_ENVIRONMENT_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_KEY = re.compile(
    r"Bearer\s.*|(?:sk|pk|rk|hf|ghp|gho|ghs|ghu|glpat|github_pat|xox[abprs]|AIza|AKIA|ya29)[-_.]?[A-Za-z0-9_.-]{12,}"
)
_HEX_KEY = re.compile(r"[0-9a-f]{32}")
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=(?:[^0-9]+[0-9]+){4})[A-Za-z0-9+=_]{32,}")
"""Long, of both cases, and digits in four places: no name that people give."""
_RANDOM = re.compile(r"(?=.*\d)[A-Za-z0-9_.+/=-]{16,}")
"""Long, of one word, with a digit: no `</s>`, which is a token too."""


def secrets_in(name: str, value: Any) -> Iterator[str]:
    """The names of the settings in this one, itself included, whose value looks like a key rather than like the name
    of the environment variable that holds it. Values themselves are never told."""
    if isinstance(value, dict):
        for inner, each in value.items():
            for found in secrets_in(inner, each):
                yield f"{name}.{found}"
    elif isinstance(value, list | tuple):
        for each in value:
            yield from secrets_in(name, each)
    elif isinstance(value, str) and _is_secret(name.lower(), value):
        yield name


def looks_secret(value: Any) -> bool:
    """Whether a text looks like a key, whatever its name. Names of models and deployments do not."""
    return isinstance(value, str) and any(form.fullmatch(value) for form in (_KEY, _HEX_KEY, _MIXED))


def holds_secret(value: Any) -> bool:
    """Whether a text that looks like a key is in the value, however deep: then it is not shown."""
    return next(secrets_in("", value), None) is not None


def _is_secret(name: str, value: str) -> bool:
    if looks_secret(value):
        return True
    if not value or _ENVIRONMENT_VARIABLE.fullmatch(value):
        return False
    if _NAME_OF_A_TOKEN.search(name):
        return _RANDOM.fullmatch(value) is not None
    return _NAME_OF_A_KEY.search(name) is not None
