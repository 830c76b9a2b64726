"""Only `make test-engines` runs what is here: the engines come from packages of the system, and need root."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from harness import Stage  # found only by the line above

collect_ignore_glob = [] if "PREALLOC_ENGINE" in os.environ else ["test_*.py"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """For commands whose hosts the engine starts: each command is an interpreter of its own."""
    made = Stage(tmp_path, fresh=True)
    try:
        yield made
    finally:
        made.clean_up()
