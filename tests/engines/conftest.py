"""Real engines, each started once for all tests on it. `make test-engines` installs what they need."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dask_lab import DaskLab
from netns import Machines
from ray_lab import RayLab
from slurm_lab import SlurmLab

LABS = {"slurm": SlurmLab, "ray": RayLab, "dask": DaskLab, "futures": None}
"""By the engine's name on the command line."""


class Lab(NamedTuple):
    """One engine, ready to be used."""

    engine: str
    options: dict[str, str]
    """Of its provider."""
    machines: Machines | None
    """None if it runs on this machine."""
    cluster: SlurmLab | RayLab | DaskLab | None
    here: str
    """The address of this machine that the engine's machines reach."""


@pytest.fixture(scope="session", params=sorted(LABS))
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One engine after the other; an engine is gone before the next one starts."""
    kind = LABS[request.param]
    if kind is None:
        yield Lab(request.param, {"factory": "loky_lab:make_executor"}, None, None, "127.0.0.1")
        return
    environment = dict(os.environ)
    machines = Machines(3)
    try:
        folder = tmp_path_factory.mktemp(request.param)
        cluster = kind(machines, folder)
        options = {
            "slurm": {"mem": "100", "poll": "0.2", "folder": str(folder)},
            "ray": {"address": getattr(cluster, "address", "")},
            "dask": {"address": getattr(cluster, "address", "")},
        }
        yield Lab(request.param, options[request.param], machines, cluster, machines.here)
    finally:
        machines.close()
        os.environ.clear()
        os.environ |= environment
