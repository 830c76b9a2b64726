"""What an import leaves behind is found, whatever it is; and what is harmless, or gone, is not."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prealloc.engines.leftovers import held, told


@contextmanager
def connection(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        yield f"a connection to 127.0.0.1:{client.getpeername()[1]}"


@contextmanager
def sockets(folder: Path) -> Iterator[str]:
    one, other = socket.socketpair()
    with one, other:
        yield "a socket (2 times)"


@contextmanager
def pipe(folder: Path) -> Iterator[str]:
    reader, writer = os.pipe()
    yield "a pipe (2 times)"
    os.close(reader)
    os.close(writer)


@contextmanager
def event_loop(folder: Path) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    yield "an event loop"
    loop.close()


@contextmanager
def epoll(folder: Path) -> Iterator[str]:
    with select.epoll():
        yield "an event loop"


@contextmanager
def eventfd(folder: Path) -> Iterator[str]:
    descriptor = os.eventfd(0)
    yield "an open eventfd"
    os.close(descriptor)


@contextmanager
def thread(folder: Path) -> Iterator[str]:
    end = threading.Event()
    each = threading.Thread(target=end.wait)
    each.start()
    yield "a thread"
    end.set()
    each.join()
    while os.path.exists(f"/proc/self/task/{each.native_id}"):  # to the system it ends a little later
        time.sleep(0.001)


@contextmanager
def process(folder: Path) -> Iterator[str]:
    with subprocess.Popen(["sleep", "60"]) as each:
        yield "the process sleep"
        each.kill()


@contextmanager
def written_file(folder: Path) -> Iterator[str]:
    with (folder / "log").open("a"):
        yield f"the open file {folder / 'log'}"


@contextmanager
def read_file(folder: Path) -> Iterator[str]:
    (folder / "data").touch()
    with (folder / "data").open("rb"):
        yield f"the open file {folder / 'data'}"


@contextmanager
def shared_memory(folder: Path) -> Iterator[str]:
    with contextlib.closing(mmap.mmap(-1, 4096)):
        yield "shared memory"


@contextmanager
def patched(folder: Path) -> Iterator[str]:
    real = time.sleep
    time.sleep = lambda seconds: None
    yield "functions in place of Python's own (gevent?)"
    time.sleep = real


KINDS = [connection, sockets, pipe, event_loop, epoll, eventfd, thread, process]
KINDS += [written_file, read_file, shared_memory, patched]


@pytest.mark.parametrize("leave", KINDS, ids=lambda leave: leave.__name__)
def test_each_kind_is_found(tmp_path: Path, leave: type) -> None:
    """Found while it is there and named; gone when it is gone."""
    before = held()
    with leave(tmp_path) as name:
        assert name in (told(before, held()) or "")
    assert told(before, held()) is None


def test_what_is_harmless(tmp_path: Path) -> None:
    """Nothing of this can give one worker what is another's."""
    before = held()
    folder = os.open(tmp_path, os.O_RDONLY)
    with open(os.devnull, "w"), open("/dev/urandom", "rb"), contextlib.closing(mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)):
        assert told(before, held()) is None
    os.close(folder)


def test_a_descriptor_that_is_another_now(tmp_path: Path) -> None:
    """A number that was open before and is open on something else now is told: the old one was closed, this is new."""
    reader, writer = os.pipe()
    before = held()
    os.close(reader)
    os.close(writer)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert told(before, held()) == "a socket (2 times)"


def test_many_kinds_at_once(tmp_path: Path) -> None:
    """The most frequent are named, the rest is counted."""
    after = {("x", n): f"kind {n}" for n in range(8)}
    assert told({}, after) == "kind 0, kind 1, kind 2, kind 3, kind 4 and 3 more"
