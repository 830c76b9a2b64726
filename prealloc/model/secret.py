"""Whether a value looks like a key itself, where only the name of its environment variable belongs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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


_HIDDEN = "***"
_IN_TEXT = re.compile(
    r"""(?ix)
      (?P<left> [?&;] [\w.-]* (?:key|token|secret|password|signature) =      # a query's
              | \b (?:api|access|secret) [_-]? (?:key|token) ["']? \s* [=:] \s* ["']?
              | \b (?:proxy-)? authorization ["']? \s* [=:] \s* ["']? (?:[a-z]+ \s+)?
              | \b bearer \s+
              | :// [^/\s:@]* : (?= [^/\s@]+ @ ) )                          # a password in a URL
      [^\s"'&;,<>@\])}]+
    | (?<! [\w-] ) (?-i: sk-[\w-]{8,} | (?:sk|pk|rk)_(?:live|test)_\w{8,} | AIza[\w-]{8,} | gh[pousr]_\w{8,}
        | github_pat_\w{8,} | xox[abprs]-[\w-]{8,} | hf_[A-Za-z]{20,} | gsk_\w{8,} | AKIA[A-Z0-9]{8,} )
    """
)
"""Where keys stand in the texts of errors and URLs; `left` stays."""
_SECRET_VARIABLE = re.compile(r"(?i)(?:^|_)(?:key|token|secret|password|passwd|credential)s?_?\d*$")
_SHORTEST_KEY = 8


def masked(text: str, variables: Iterable[str] = ()) -> str:
    """The text with *** in place of whatever is a key, as far as can be told.

    Keys are the values of these environment variables and of those whose name says that they hold one, and what looks
    like one in a URL, in a header or by itself.
    """
    return masker(variables)(text)


def masker(variables: Iterable[str] = ()) -> Callable[[str], str]:
    """The same for many texts: the environment is looked at once."""
    names = {*variables, *filter(_SECRET_VARIABLE.search, os.environ)}
    values = {value for name in names if len(value := os.environ.get(name, "")) >= _SHORTEST_KEY}
    ordered = sorted(values, key=len, reverse=True)  # one may be a part of another

    def mask(text: str) -> str:
        for value in ordered:
            text = text.replace(value, _HIDDEN)
        return _IN_TEXT.sub(lambda found: (found["left"] or "") + _HIDDEN, text)

    return mask


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that do not look like keys, by name or value: for where a disk may see them."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET_VARIABLE.search(name) and not _BEGINS.match(value)
    }


def named_variables(settings: Mapping[str, Any]) -> frozenset[str]:
    """The environment variables that settings name, such as that of a lane's key."""
    return frozenset(text for name, text in _texts("", settings) if name.endswith("_env"))


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
