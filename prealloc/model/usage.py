"""Tokens by model: how they are counted, added up, and read from what APIs and programs say."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Annotated, Any

import msgspec

from prealloc.model.words import shown

MOST_TOKENS = 2**53
"""Of one model in one attempt. More is damage: JSON has no exact number for it."""

UNNAMED = "unknown"
"""The model of tokens that nobody has named one for, where the shard's settings have no `model` either."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Tokens of one model. Each is in one field, but for `reasoning`, which says how many of `output` were that."""

    input: Count = 0
    """Read anew: without those of the cache."""
    output: Count = 0
    cache_read: Count = 0
    cache_write: Count = 0
    reasoning: Count = 0
    unsplit: Count = 0
    """Of which only the sum is known, not what they were."""
    requests: Count = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write + self.unsplit

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(**{name: getattr(self, name) + getattr(other, name) for name in FIELDS})


FIELDS = Tokens.__struct_fields__

Usage = dict[str, Tokens]
"""By model."""


def added(parts: Iterable[Mapping[str, Tokens] | None]) -> Usage | None:
    """The sum; None if nothing was counted."""
    found: Usage = {}
    for part in parts:
        for model, tokens in (part or {}).items():
            found[model] = found[model] + tokens if model in found else tokens
    return found or None


_OURS = {
    "input": ("input", "input_tokens", "prompt_tokens", "prompt"),
    "output": ("output", "output_tokens", "completion_tokens", "completion"),
    "cache_write": ("cache_write", "cache_creation_input_tokens"),
    "reasoning": (
        "reasoning",
        "reasoning_tokens",
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
    ),
    "unsplit": ("unsplit",),
    "requests": ("requests",),
}
"""What APIs call our numbers: `a.b` is b in the object a."""
_CACHED_BESIDE_INPUT = ("cache_read", "cache_read_input_tokens")
_CACHED_WITHIN_INPUT = ("cached_tokens", "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens")
_TOTAL = ("total", "total_tokens")
_AT_THE_TOP = frozenset(
    name for names in (*_OURS.values(), _CACHED_BESIDE_INPUT, _CACHED_WITHIN_INPUT, _TOTAL) for name in names
)


def tokens_of(told: Any) -> Tokens:
    """The tokens of one request, as a number in all, or as an API says them: a table, or an object of its client.

    Of OpenAI's, Anthropic's and our own names. Raises ValueError if that is not a number of tokens.
    """
    if isinstance(told, Number):
        return Tokens(unsplit=_whole(told), requests=1)
    table = _table(told)
    found = {ours: number for ours, names in _OURS.items() if (number := _first(table, names)) is not None}
    beside, within = _first(table, _CACHED_BESIDE_INPUT), _first(table, _CACHED_WITHIN_INPUT)
    if beside is not None:
        found["cache_read"] = beside
    elif within is not None:  # these APIs count what they have read from the cache as input too
        found["cache_read"] = within
        found["input"] = max(0, found.get("input", 0) - within)
    total = _first(table, _TOTAL)
    if total is None and not found:
        raise ValueError("it has no number of tokens; give one, or a table such as {'input': 900, 'output': 120}")
    if total is not None and not ("input" in found and "output" in found):
        known = sum(found.get(name, 0) for name in ("input", "output", "cache_read", "cache_write"))
        found["unsplit"] = max(0, total - known)
    return Tokens(**{"requests": 1, **found})


def usage_of(told: Any, model: str) -> Usage:
    """The same of several models, where `told` has a table for each; else of this one. Raises ValueError."""
    if not isinstance(told, Number):
        table = _table(told)
        if table and _AT_THE_TOP.isdisjoint(table):
            return {name: tokens_of(each) for name, each in table.items() if each is not None}
    return {model: tokens_of(told)}


def usage_in(result: Any, model: str) -> Usage | None:
    """What the result of an outside program says in `usage`, else in `tokens`; None if that says nothing."""
    for name in ("usage", "tokens"):
        if isinstance(result, dict) and result.get(name) is not None:
            try:
                return usage_of(result[name], model) or None
            except ValueError:
                continue
    return None


def model_named(settings: Mapping[str, Any]) -> str:
    """The model of a shard's tokens, unless somebody names another."""
    model = settings.get("model")
    return model if isinstance(model, str) and model else UNNAMED


def _table(told: Any) -> Mapping[str, Any]:
    if isinstance(told, Mapping):
        return told
    dump = getattr(told, "model_dump", None)  # the objects of most clients are pydantic's
    table = dump() if callable(dump) else None
    if isinstance(table, Mapping):
        return table
    raise ValueError(f"{type(told).__name__} is neither a number nor a table of tokens")


def _first(table: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """The number that has one of these names; None stands for none."""
    for name in names:
        head, dot, rest = name.partition(".")
        value = table.get(head)
        if dot:
            value = _table(value).get(rest) if value is not None else None
        if value is not None:
            return _whole(value)
    return None


def _whole(number: Any) -> int:
    """Rounded up. Raises ValueError if it is not a number of tokens."""
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):  # complex numbers, NaN, infinity
        is_number = isinstance(number, Number) and not isinstance(number, bool)
        if is_number and 0 <= number <= MOST_TOKENS:
            whole: int = math.ceil(number)
            return whole
    raise ValueError(f"{shown(number)} is not a number of tokens")
