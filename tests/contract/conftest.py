"""The engines that the contract suites run on, and a run on one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zygote import zygote

import prealloc
from examples import in_laws
from prealloc.engines.base import Engine
from prealloc.engines.inline import InlineEngine
from prealloc.engines.local import LocalEngine
from prealloc.engines.registry import make_engine
from prealloc.engines.spawn_launcher import SpawnLauncher
from prealloc.model.events import Event, RunEnded
from prealloc.model.policy import EngineOptions

sys.path.insert(0, str(Path(__file__).parent))  # contract_workers is found there, in workers too

HOSTS = 2

ENGINES: dict[str, Callable[[], Engine]] = {
    "inline": lambda: InlineEngine(jitter=lambda: 0.0),
    "local": LocalEngine,
    "local-spawn": lambda: LocalEngine(SpawnLauncher()),
    "process": lambda: make_engine("process", EngineOptions(hosts=HOSTS)),
}


REAL = os.environ.get("PREALLOC_ENGINE")
"""Of `make test-engines`: the real engine that the tests marked `starts` run on, see engines/labs.py."""

AT_FIRST = {*os.environ}
OF_THE_LABS = ("DASK_", "PREALLOC_", "PYTEST_", "RAY_", "SLURM_")

STARTS_OTHERWISE = "local-spawn"
"""Differs from `local` in how workers are started, watched and killed alone: it runs the tests marked `starts`, most of
them in `make laws`.
"""
AT_LEAST = {
    "test_every_unit_runs_once_and_its_result_is_kept",
    "test_ctrl_c_drains_and_resume_goes_on",
    "test_a_hang_is_stopped_or_the_engine_says_that_it_cannot",
    "test_a_limit_of_memory_is_kept_or_refused",
    "test_nothing_stays_open",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each behaviour on every engine that could have it differently."""
    if "make" in metafunc.fixturenames:
        starts = metafunc.definition.get_closest_marker("starts") is not None
        names: list[Any] = [REAL] if REAL else [name for name in ENGINES if name != STARTS_OTHERWISE]
        if starts and not REAL:
            is_one = metafunc.function.__name__ in AT_LEAST
            names.append(STARTS_OTHERWISE if is_one else in_laws(STARTS_OTHERWISE))
        metafunc.parametrize("make", names, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A host runs the engine `local`: what differs by the worker's function alone is tried there."""
    call = getattr(item, "callspec", None)
    if call is not None and call.params.get("make") == "process" and call.indices.get("worker"):
        item.add_marker("in_laws")


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    """Makes an engine to run on. Any process that it leaves behind fails the test."""
    zygote()  # is a child too
    found = ENGINES.get(request.param) or _real(request.getfixturevalue("lab"))
    before = _children()
    yield found
    assert _children() <= before


def _real(lab: Any) -> Callable[[], Engine]:
    options = tuple(f"{name}={value}" for name, value in lab.options.items())

    def made() -> Engine:
        new = {*os.environ} - AT_FIRST
        set_by_the_test = tuple(sorted(name for name in new if not name.startswith(OF_THE_LABS)))  # and not there
        mine = EngineOptions(hosts=HOSTS, listen=lab.here, engine_option=options, pass_env=set_by_the_test)
        return make_engine(lab.engine, mine)

    return made


@pytest.fixture
def machines(make: Callable[[], Engine]) -> int:
    """How many hosts it runs on at a time; 1 for an engine of one machine."""
    return 1 if make in [ENGINES[name] for name in ENGINES if name != "process"] else HOSTS


@pytest.fixture
def engine(make: Callable[[], Engine]) -> str:
    """The name of that engine."""
    return "inline" if make is ENGINES["inline"] else "local"  # to ask one would start its fork server


def _children() -> set[int]:
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(name))
    return found


@pytest.fixture
def go(make: Callable[[], Engine], tmp_path: Path) -> Callable[..., RunEnded]:
    """Runs a plan on the engine, into the folder `run`."""

    def run(plan: Any, worker: Any, name: str = "run", **options: Any) -> RunEnded:
        return prealloc.run(
            plan, worker, tmp_path / name, engine=make(), **{"timeout_s": 30, "grace_s": 0.3, **options}
        )

    return run


@pytest.fixture
def resume(make: Callable[[], Engine], tmp_path: Path) -> Callable[..., RunEnded]:
    """Resumes the folder `run` on the engine."""
    return lambda **options: prealloc.resume(tmp_path / "run", engine=make(), **options)


@pytest.fixture
def stopped(go: Callable[..., RunEnded]) -> Callable[..., RunEnded]:
    """The same for a run that Ctrl-C stops: KeyboardInterrupt comes after the summary, which it gives."""

    def run(plan: Any, worker: Any, *, observe: Callable[[Event], None], **options: Any) -> RunEnded:
        seen: list[Event] = []

        def note(event: Event) -> None:
            seen.append(event)
            observe(event)

        with pytest.raises(KeyboardInterrupt):
            go(plan, worker, observe=note, **options)
        assert isinstance(seen[-1], RunEnded)
        return seen[-1]

    return run
