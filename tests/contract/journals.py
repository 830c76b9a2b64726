"""Runs of the contract suites, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines_of(run: Path) -> list[dict[str, Any]]:
    """The attempts in the journal."""
    files = sorted((run / "journal").iterdir())
    return [
        json.loads(line) for file in files for line in file.read_text().split("\n") if line and "kind" not in line[:8]
    ]
