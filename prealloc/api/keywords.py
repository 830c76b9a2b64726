"""The keywords that run() and resume() share, and what is wrong with them for a plan, an engine and prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prealloc.engines.base import Engine
from prealloc.engines.limits import over_cost
from prealloc.errors import Mistake, OptionsError, gathered
from prealloc.model.keywords import EngineKeywords, PartOptions, RunOptions
from prealloc.model.options import Bytes, Dollars, Seconds, options_of, read_options
from prealloc.model.part import Part
from prealloc.model.plan import Manifest
from prealloc.model.policy import EngineOptions, RunPolicy, read_run_options
from prealloc.model.prices import Prices
from prealloc.model.usage import UNNAMED, Usage, model_named
from prealloc.model.words import listed

_PRICES = 'give the run a config that has [prices."MODEL"]'

FIXED = ("neutral", "same_task")
"""Options that say what a unit is: they stay for a whole run."""


class RunKeywords(RunOptions, EngineKeywords, PartOptions, total=False):
    """How tasks are treated, which of them, and how an engine beyond one machine runs them."""


class Keywords(NamedTuple):
    """What they say, as far as it is right."""

    part: Part
    options: dict[str, Any]
    """Fields of RunPolicy."""
    engine: dict[str, Any]
    """Fields of EngineOptions."""


def read_run_keywords(given: RunKeywords, found: list[Mistake]) -> Keywords:
    """Adds what is wrong with them to `found`."""
    options: dict[str, Any] = {**given}
    if "durations_from" in options:
        options.pop("durations_from")
        found.append(Mistake("durations_from", "it is called history now", "write history=[...]"))
    part = {name: options.pop(name) for name in options_of(Part) if name in options}
    read = Part(**read_options(Part, part, found))
    hosts = {name: options.pop(name) for name in options_of(EngineOptions) if name in options}
    engine = read_options(EngineOptions, hosts, found)
    return Keywords(read, gathered(found, lambda: read_run_options(options)) or {}, engine)


def fixed_mistakes(options: Mapping[str, Any]) -> list[Mistake]:
    """Those of options that a resume cannot change."""
    problem = "it says what a unit is, and the run has begun"
    return [Mistake(f"‹{name}›", problem, "omit it, or start a new run") for name in FIXED if name in options]


def refuse_memory(policy: RunPolicy, engine: Engine) -> None:
    """Raises OptionsError if the engine cannot hold tasks to a limit of memory."""
    if policy.memory_bytes is not None and not engine.facts.can_kill:
        problem = f"the {engine.name} engine cannot hold tasks to it"
        hint = "omit it, or use ‹engine› local, which can kill its workers"
        raise OptionsError([Mistake("‹memory_bytes›", problem, hint)])


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


def changes(then: RunPolicy, now: RunPolicy) -> list[str]:
    """A sentence for each option that has another value now."""
    options = options_of(RunPolicy)

    def told(name: str, value: Any) -> str:
        reader = options[name].reader
        if value is None:
            return "none"
        return reader.write(value) if isinstance(reader, Dollars | Seconds | Bytes) else str(value)

    return [
        f"{options[name].name.replace('_', '-')} is {told(name, value)} from here on; it was "
        f"{told(name, getattr(then, name))}"
        for name, value in now.differing(then).items()
    ]
