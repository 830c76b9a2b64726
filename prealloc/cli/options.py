"""Options that several commands share, and how they go together with a config file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prealloc.settings import Experiment

JsonFlag = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is not ok.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of options; those on the command line win.")
]


def read_config(path: Path | None) -> Experiment:
    """The config file's options; none without a file."""
    from prealloc.settings import Experiment, load_config

    return load_config(path) if path is not None else Experiment(library={}, sampling={}, run={})


def without_empty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: a flag that is off, None and nothing at all were not. 0 was."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value not in ((), {})
    }
