"""Lets the fault tests import their support code, and gives each a stage that leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Stage  # found only by the line above


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A folder, a marker in the environment of every process, and the killing of what is left."""
    made = Stage(tmp_path, fresh=request.node.get_closest_marker("fresh") is not None)
    try:
        yield made
    finally:
        made.clean_up()
