"""What a run on a cluster reads and sends: the library never, and each slice once to each host that runs it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from labs import Lab

import prealloc
from prealloc.engines.registry import make_engine
from prealloc.model.events import Event, HostJoined, ShardStarted
from prealloc.model.policy import EngineOptions
from prealloc.sample_library.write import write_sample

pytestmark = pytest.mark.engine

SHARDS, TASKS = 25, 20
_IN_OPEN = 0x20


@pytest.mark.parametrize("strategy", ["disjoint", "paired"])
def test_slices_cross_once_and_nobody_opens_the_library(lab: Lab, tmp_path: Path, strategy: str) -> None:
    """25 shards of 20 tasks from a library of 60 MB: what goes to the hosts is within 5% of their slices.

    Shards that are paired have one slice, which goes to each host once. The kernel counts the bytes, and the opens of
    the library by any process on any of the machines.
    """
    library = tmp_path / "library.json"
    write_sample(library, tasks=630, workflow_bytes=84_000, seed=1)
    plan = prealloc.plan(library, out=tmp_path / "plan", shards=SHARDS, num_instances=TASKS, seed=7, strategy=strategy)
    sizes = {file.stem: file.stat().st_size for file in (tmp_path / "plan/slices").iterdir()}
    slice_of = {shard.manifest.id: shard.manifest.slice.sha256 for shard in plan.shards}
    ran: set[tuple[str | None, str]] = set()
    hosts: set[str] = set()

    def note(event: Event) -> None:
        if isinstance(event, ShardStarted):
            ran.add((event.host, slice_of[event.shard]))
        elif isinstance(event, HostJoined):
            hosts.add(event.machine)

    apart = {"extra": "--exclusive"} if lab.engine == "slurm" else {}
    options = tuple(f"{name}={value}" for name, value in (lab.options | apart).items())
    engine = make_engine(lab.engine, EngineOptions(hosts=3, room=10, listen=lab.here, engine_option=options))
    before = _sent(lab)
    with _opens(library) as opens:
        ended = prealloc.run(
            tmp_path / "plan", "prealloc.agents.simulate:run", tmp_path / "run", engine=engine, observe=note
        )
        assert opens() == 0
    assert (ended.census["ok"], ended.library_opens) == (SHARDS * TASKS, 0)
    expected = sum(sizes[sha256] for _, sha256 in ran)
    crossed = _sent(lab) - before
    print(f"\n{lab.engine}, {strategy}: {len(ran)} slices to {len(hosts)} machines, {expected} bytes; sent {crossed}")
    if lab.engine in ("slurm", "ray", "dask"):
        assert len(hosts) == 3
    if lab.machines is not None:
        assert expected <= crossed <= 1.05 * expected + 300_000  # an engine's own talk, and the programs' start


def _sent(lab: Lab) -> int:
    """Bytes that have gone to the machines, on all of their wires."""
    return sum(lab.machines.sent(i) for i in lab.machines.numbers) if lab.machines is not None else 0


@contextmanager
def _opens(file: Path) -> Iterator[object]:
    """Gives a function that counts how often the file was opened: the kernel tells, of every process."""
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(file), _IN_OPEN) > 0

    def count() -> int:
        try:
            return len(os.read(watch, 2**16)) // 16
        except BlockingIOError:
            return 0

    try:
        yield count
    finally:
        os.close(watch)
