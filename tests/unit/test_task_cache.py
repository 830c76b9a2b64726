"""The cache of tasks that were read: its bound, and many threads."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.errors import LibraryError, OptionsError
from prealloc.library.cache import TaskCache
from prealloc.model.task import LightweightTask


@examples(100)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 500))
def test_the_cache(asked: list[int], most: int) -> None:
    """Law: it gives what reading gives, holds no more than it may, and while it is large enough reads an id once."""
    reads: list[int] = []

    def read(position: int) -> LightweightTask:
        reads.append(position)
        return LightweightTask(id=f"t{position}", type="a", workflow="x" * (10 * position))

    cache = TaskCache(most)
    for position in asked:
        assert cache.get(position, read).workflow == "x" * (10 * position)
        assert cache.info.bytes <= most
    info = cache.info
    assert info.hits + info.misses == len(asked)
    assert info.misses == len(reads)
    if most == 500 or sum(10 * position + 7 for position in set(asked)) <= most - 2 * 10:
        sizes = sum(len(f"t{p}") + 10 * p + 4 for p in set(asked))
        if sizes <= most:
            assert len(reads) == len(set(asked))


def test_threads_read_a_task_once() -> None:
    """Law: of threads that ask for the same task at once, one reads it, and all get it; a failure is told to each."""
    cache, reads, start = TaskCache(1000), [], threading.Barrier(8)

    def read(position: int) -> LightweightTask:
        reads.append(position)
        time.sleep(0.05)
        return LightweightTask(id=f"t{position}", type="a", workflow=position)

    found: list[Any] = []

    def ask() -> None:
        start.wait()
        found.append(cache.get(3, read).workflow)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 8
    assert reads == [3]

    def fail(position: int) -> LightweightTask:
        raise LibraryError("gone")

    for _ in range(2):
        with pytest.raises(LibraryError):
            cache.get(4, fail)


def test_a_fork_does_not_take_a_lock_along() -> None:
    """Law: a process forked in the moment in which another thread reads goes on."""
    cache, reading, go_on = TaskCache(1000), threading.Event(), threading.Event()

    def read(position: int) -> LightweightTask:
        reading.set()
        go_on.wait()
        return LightweightTask(id="t", type="a", workflow=1)

    thread = threading.Thread(target=cache.get, args=(3, read))
    thread.start()
    reading.wait()
    with cache._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of what is tested here
        child = os.fork()
        if child == 0:
            cache.get(3, lambda position: LightweightTask(id="t", type="a", workflow=2))
            os._exit(0)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
    go_on.set()
    thread.join()
    assert ended == (child, 0)


def test_a_cache_of_less_than_nothing() -> None:
    """Law: a size that is none is a mistake that says so."""
    with pytest.raises(OptionsError, match="below 0"):
        TaskCache(-1)
