"""Lets the fault tests import their support code, and gives each a stage that leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Stage  # found only by the line above

if TYPE_CHECKING:
    from hosts_lab import HostsLab


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A folder, a marker in the environment of every process, and the killing of what is left."""
    made = Stage(tmp_path, fresh=request.node.get_closest_marker("fresh") is not None)
    try:
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def lab(stage: Stage) -> Iterator[HostsLab]:
    """A master and hosts that are started by hand."""
    from hosts_lab import hosts_lab

    with hosts_lab(stage) as made:
        yield made
