"""What tokens cost: prices by model, as the user names them. None are shipped: they age.

A cost is computed when it is shown, and never stored. Tokens without a price are counted as such, and cost nothing that
anybody knows: never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from prealloc.errors import Mistake
from prealloc.model.options import Dollars, Option, did_you_mean, options_of
from prealloc.model.usage import Tokens
from prealloc.model.words import shown

MILLION = 1_000_000
_PER_MILLION = Dollars()
_Amount = Annotated[float, msgspec.Meta(ge=0)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Dollars for a million tokens of one model."""

    input: Annotated[_Amount, Option(_PER_MILLION, "Of what it reads anew.")]
    output: Annotated[_Amount, Option(_PER_MILLION, "Of what it writes, reasoning included.")]
    cache_read: Annotated[
        _Amount | None, Option(_PER_MILLION, "Of what it reads from the cache.", unset="no price")
    ] = None
    cache_write: Annotated[_Amount | None, Option(_PER_MILLION, "Of what is kept in the cache.", unset="no price")] = (
        None
    )

    @property
    def dearest(self) -> float:
        """The highest of them."""
        return max(self.input, self.output, self.cache_read or 0.0, self.cache_write or 0.0)


Prices = Mapping[str, Price]
"""By model."""


class Cost(NamedTuple):
    """What tokens cost."""

    dollars: float | None
    """Of those that have a price; None: none has."""
    unpriced: int
    """Tokens that have none, of models without a price or of a kind that theirs does not name."""


def cost_of(usage: Mapping[str, Tokens] | None, prices: Prices) -> Cost:
    """The cost of these tokens."""
    dollars, unpriced = [], 0
    for model, tokens in (usage or {}).items():
        price = prices.get(model)
        for count, per_million in _kinds(tokens, price):
            if count and per_million is None:
                unpriced += count
            elif per_million is not None:
                dollars.append(count * per_million / MILLION)
    return Cost(math.fsum(dollars) if dollars else None, unpriced)


def most_of(usage: Mapping[str, Tokens] | None, prices: Prices) -> Cost:
    """The same, for a limit that must hold: of what has no price of its kind, or is of no known kind, the dearest."""
    dollars, unpriced = [0.0], 0
    for model, tokens in (usage or {}).items():
        if (price := prices.get(model)) is None:
            unpriced += tokens.total
            continue
        per_million = ((count, price.dearest if each is None else each) for count, each in _kinds(tokens, price))
        dollars += (count * each / MILLION for count, each in per_million)
    return Cost(math.fsum(dollars), unpriced)


def sum_of(costs: Iterable[Cost]) -> Cost:
    """All of them together."""
    costs = list(costs)
    dollars = [cost.dollars for cost in costs if cost.dollars is not None]
    return Cost(math.fsum(dollars) if dollars else None, sum(cost.unpriced for cost in costs))


def _kinds(tokens: Tokens, price: Price | None) -> Iterable[tuple[int, float | None]]:
    """Numbers of tokens, each with the price for a million of them."""
    if price is None:
        return ((tokens.total, None),)
    return (
        (tokens.input, price.input),
        (tokens.output, price.output),
        (tokens.cache_read, price.cache_read),
        (tokens.cache_write, price.cache_write),
        (tokens.unsplit, price.input if price.input == price.output else None),
    )


def read_prices(given: Any, mistakes: list[Mistake], where: str = "‹prices›") -> dict[str, Price]:
    """The prices in a table of tables, as a config has them. Adds what is wrong with them to `mistakes`."""
    hint = 'write [prices."MODEL"] with input and output, in dollars per million tokens'
    if not isinstance(given, Mapping):
        mistakes.append(Mistake(where, f"{shown(given)} is not a table", hint))
        return {}
    found = {}
    for model, table in given.items():
        place = f"{where} {model}"
        if isinstance(table, Price):
            found[str(model)] = table
        elif not isinstance(table, Mapping):
            mistakes.append(Mistake(place, f"{shown(table)} is not a table of prices", hint))
        elif (price := _price(place, table, mistakes)) is not None:
            found[str(model)] = price
    return found


def _price(where: str, table: Mapping[str, Any], mistakes: list[Mistake]) -> Price | None:
    options, before = options_of(Price), len(mistakes)
    values = {}
    for name, value in table.items():
        if name in options:
            values[name] = options[name].reader.read(f"{where} {name}", value, mistakes)
        else:
            mistakes.append(Mistake(f"{where} {name}", "there is no such price", did_you_mean(str(name), options)))
    mistakes += [
        Mistake(f"{where} {name}", "it is missing", "give dollars per million tokens; 0 is a price too")
        for name in ("input", "output")
        if name not in table
    ]
    return Price(**values) if len(mistakes) == before else None
