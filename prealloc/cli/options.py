"""Options that several commands share, and how they go together with a config file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is not ok.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of options; those on the command line win.")
]


def read_config(path: Path | None, *sections: str) -> list[dict[str, Any]]:
    """The options in these sections of the config file; none without a file."""
    if path is None:
        return [{} for _ in sections]
    from prealloc.settings import load_config  # only who has a config file pays for the import

    experiment = load_config(path)
    return [getattr(experiment, section) for section in sections]


def without_empty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: None and nothing at all were not. 0 was, and so was a flag that is off."""
    return {name: value for name, value in options.items() if value is not None and value not in ((), {})}
