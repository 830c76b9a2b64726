"""A pytest plugin: one real engine, started once for all tests on it, and no test may be skipped.

`make test-engines` installs what the engines need, and runs the tests on each: PREALLOC_ENGINE is the one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from dask_lab import DaskLab
from netns import Machines
from ray_lab import RayLab
from slurm_lab import SlurmLab

LABS = {"slurm": SlurmLab, "ray": RayLab, "dask": DaskLab, "futures": None, "netns": None}
"""What starts each. `netns` has hosts that are processes, on other machines."""
Cluster = SlurmLab | RayLab | DaskLab

_MEMORY = "/dev/shm"
_skipped: list[str] = []


class Lab(NamedTuple):
    """One engine, ready to be used."""

    engine: str
    options: dict[str, str]
    """Of its provider."""
    machines: Machines | None
    """None if it runs on this machine."""
    cluster: Cluster | None
    here: str
    """The address of this machine that the engine's machines reach."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The engine that the tests are to run on."""
    name = os.environ["PREALLOC_ENGINE"]
    kind = LABS[name]
    if name == "futures":
        yield Lab(name, {"factory": "loky_lab:make_executor"}, None, None, "127.0.0.1")
        return
    environment = dict(os.environ)
    before = {*os.listdir(_MEMORY)}
    machines = Machines(3)
    try:
        folder = tmp_path_factory.mktemp(name)
        cluster = kind(machines, folder) if kind is not None else None
        yield Lab(
            "process" if name == "netns" else name,
            _options(cluster, machines, folder),
            machines,
            cluster,
            machines.here,
        )
    finally:
        machines.close()
        _remove_semaphores(before)
        os.environ.clear()
        os.environ |= environment


def _remove_semaphores(before: set[str]) -> None:
    """Those of Dask's processes that were killed: new names that no process has mapped."""
    mapped: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            mapped.update(re.findall(rf" (\d+) +{_MEMORY}/", maps.read_text(errors="replace")))
    with os.scandir(_MEMORY) as entries:
        for entry in entries:
            if entry.name.startswith("sem.mp-") and entry.name not in before and str(entry.inode()) not in mapped:
                os.unlink(entry)


def _options(cluster: Cluster | None, machines: Machines, folder: Path) -> dict[str, str]:
    if isinstance(cluster, SlurmLab):
        return {"mem": "100", "poll": "0.2", "folder": str(folder)}
    if cluster is not None:
        return {"address": cluster.address}
    return {"python": machines.program(folder / "python", sys.executable)}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes what is skipped."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that is skipped has shown nothing of a real engine."""
    if _skipped:
        print("\nskipped, which counts as failed here:", *_skipped, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
