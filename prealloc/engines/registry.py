"""The engines by name. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import msgspec

from prealloc.engines.base import Engine, EngineFacts
from prealloc.engines.hosts.options import check_options
from prealloc.engines.hosts.providers.base import PROVIDERS
from prealloc.errors import Mistake, OptionsError
from prealloc.model.policy import EngineOptions
from prealloc.store.run_folder import COMMAND

_HOSTS = "prealloc.engines.hosts.engine:HostsEngine"
ENGINES = {
    COMMAND: "prealloc.engines.command:CommandEngine",
    "inline": "prealloc.engines.inline:InlineEngine",
    "local": "prealloc.engines.local:LocalEngine",
    "hosts": _HOSTS,
    **dict.fromkeys(PROVIDERS, _HOSTS),
}


def check_engine(engine: str | Engine) -> None:
    """Raises OptionsError if it is a name, and there is no such engine."""
    if isinstance(engine, str) and engine not in ENGINES:
        raise OptionsError(
            [Mistake("‹engine›", f"there is no engine {engine!r}", f"use one of {', '.join(sorted(ENGINES))}")]
        )


def make_engine(engine: str | Engine, options: EngineOptions | None = None) -> Engine:
    """The engine of this name, or the one that is given. Raises OptionsError for an unknown name."""
    if not isinstance(engine, str):
        return engine
    check_engine(engine)
    if ENGINES[engine] == _HOSTS:
        return cast(Engine, _class(engine)(engine if engine in PROVIDERS else None, options))
    return cast(Engine, _class(engine)())


def engine_options_of(
    engine: str | Engine, given: Mapping[str, Any], before: EngineOptions | None = None
) -> EngineOptions | None:
    """The options of an engine beyond one machine: those that are given, else those it had before.

    None for another engine. Raises OptionsError for options that the engine has no use for, or does not know.
    """
    if not isinstance(engine, str) or ENGINES.get(engine) != _HOSTS:
        hint = f"omit it, or use an ‹engine› that has them: {', '.join(sorted(beyond_one_machine()))}"
        if given:
            problem = "it is of hosts, and this engine has none"
            raise OptionsError([Mistake(f"‹{name}›", problem, hint) for name in given])
        return None
    options = msgspec.structs.replace(before or EngineOptions(), **given)
    check_options(engine if engine in PROVIDERS else None, options)
    return options


def beyond_one_machine() -> list[str]:
    """The engines that have hosts."""
    return [name for name, found in ENGINES.items() if found == _HOSTS]


def facts_of(engine: str) -> EngineFacts | None:
    """The facts of the engine of this name, which is not started; None if there is no such engine."""
    return cast(EngineFacts, _class(engine).facts) if engine in ENGINES else None


def _class(engine: str) -> Any:
    module, _, name = ENGINES[engine].partition(":")
    return getattr(import_module(module), name)
