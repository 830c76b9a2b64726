"""The engines there are, by name. One is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from prealloc.engines.base import Engine
from prealloc.errors import Mistake, OptionsError

COMMAND = "command"
"""The engine whose worker is a command line, not a function."""

ENGINES = {
    COMMAND: "prealloc.engines.command:CommandEngine",
    "inline": "prealloc.engines.inline:InlineEngine",
    "local": "prealloc.engines.local:LocalEngine",
}


def check_engine(name: str) -> None:
    """Raises OptionsError if there is no such engine."""
    if name not in ENGINES:
        raise OptionsError(
            [Mistake("‹engine›", f"there is no engine {name!r}", f"use one of {', '.join(sorted(ENGINES))}")]
        )


def make_engine(name: str) -> Engine:
    """The engine of this name. Raises OptionsError if there is none."""
    check_engine(name)
    module, _, cls = ENGINES[name].partition(":")
    return cast(Engine, getattr(import_module(module), cls)())
