"""The engines by name. Each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from prealloc.engines.base import Engine, EngineFacts
from prealloc.errors import Mistake, OptionsError
from prealloc.store.run_folder import COMMAND

ENGINES = {
    COMMAND: "prealloc.engines.command:CommandEngine",
    "inline": "prealloc.engines.inline:InlineEngine",
    "local": "prealloc.engines.local:LocalEngine",
}


def check_engine(engine: str | Engine) -> None:
    """Raises OptionsError if it is a name, and there is no such engine."""
    if isinstance(engine, str) and engine not in ENGINES:
        raise OptionsError(
            [Mistake("‹engine›", f"there is no engine {engine!r}", f"use one of {', '.join(sorted(ENGINES))}")]
        )


def make_engine(engine: str | Engine) -> Engine:
    """The engine of this name, or the one that is given. Raises OptionsError for an unknown name."""
    if not isinstance(engine, str):
        return engine
    check_engine(engine)
    return cast(Engine, _class(engine)())


def facts_of(engine: str) -> EngineFacts | None:
    """The facts of the engine of this name, which is not started; None if there is no such engine."""
    return cast(EngineFacts, _class(engine).facts) if engine in ENGINES else None


def _class(engine: str) -> Any:
    module, _, name = ENGINES[engine].partition(":")
    return getattr(import_module(module), name)
