"""What is asked of a run that may cost so much and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prealloc.engines.limits import over_cost
from prealloc.errors import Mistake
from prealloc.model.plan import Manifest
from prealloc.model.policy import RunPolicy
from prealloc.model.prices import Prices
from prealloc.model.usage import UNNAMED, Usage, model_named
from prealloc.model.words import listed

_PRICES = 'give the run a config that has [prices."MODEL"]'


def cost_mistakes(policy: RunPolicy, prices: Prices, manifests: Iterable[Manifest]) -> list[Mistake]:
    """What keeps ‹max_cost› from being kept: a model of these shards without a price."""
    if policy.max_cost is None:
        return []
    if not prices:
        return [Mistake("‹max_cost›", "no price is known", f"{_PRICES}, or omit ‹max_cost›")]
    models = dict.fromkeys(model_named(manifest.settings) for manifest in manifests)
    missing = [model for model in models if model not in prices and model != UNNAMED]
    if not missing:
        return []
    return [Mistake("‹max_cost›", f"there is no price for {listed(missing)}", f"{_PRICES} for each of them")]


def spent_mistakes(policy: RunPolicy, prices: Prices, used: Usage | None, left: Mapping[str, int]) -> list[Mistake]:
    """What keeps a resume from starting anything that is left: the money is spent."""
    if policy.max_cost is None or not left or (why := over_cost(policy.max_cost, used, prices)) is None:
        return []
    return [Mistake("‹max_cost›", why.partition(";")[0], "give ‹max_cost› more, or none")]
