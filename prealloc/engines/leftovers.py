"""What importing a module has left open or running: things that forked workers must not share.

A connection that two workers use gives one of them the other's answers. A file's position, an event loop's epoll, a
lock in shared memory are no better, and a thread is not forked at all: the lock that it holds stays locked for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prealloc.model.words import listed
from prealloc.processes.tree import descendants, identify

NAMED = 5
_HARMLESS = frozenset({"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"})

Held = dict[tuple[object, ...], str]
"""What this process has open or running: by what identifies each thing, its words for people."""


def held() -> Held:
    """What this process holds now."""
    if not os.path.isdir("/proc/self/fd"):
        return {}
    return dict([*_descriptors(), *_threads(), *_children(), *_shared_memory(), *_functions()])


def told(before: Held, after: Held) -> str | None:
    """What has come since: `2 pipes, 3 threads`. None if nothing has."""
    counts = Counter(words for key, words in after.items() if key not in before)
    if not counts:
        return None
    return listed((words if n == 1 else f"{words} ({n} times)" for words, n in counts.most_common()), NAMED)


def _descriptors() -> Iterator[tuple[tuple[object, ...], str]]:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            link, status = os.readlink(f"/proc/self/fd/{name}"), os.fstat(descriptor)
        except OSError:  # the one that listdir itself had open
            continue
        if stat.S_ISSOCK(status.st_mode):
            words = _socket(descriptor)
        elif stat.S_ISFIFO(status.st_mode):
            words = "a pipe"
        elif link.startswith("anon_inode:"):
            kind = link.removeprefix("anon_inode:").strip("[]")  # eventfd, inotify, ...
            words = "an event loop" if kind == "eventpoll" else f"an open {kind}"
        elif link in _HARMLESS or stat.S_ISDIR(status.st_mode):
            continue
        else:  # one that is only read has a position, which would be shared
            words = f"the open file {link}"
        yield ("descriptor", descriptor, link), words


def _socket(descriptor: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as each:
        peer = each.getpeername()
        if each.family in (socket.AF_INET, socket.AF_INET6):
            return f"a connection to {peer[0]}:{peer[1]}"
    return "a socket"


def _threads() -> Iterator[tuple[tuple[object, ...], str]]:
    for thread in os.listdir("/proc/self/task"):
        yield ("thread", thread), "a thread"


def _children() -> Iterator[tuple[tuple[object, ...], str]]:
    for process in filter(None, map(identify, _child_ids())):  # None: it has ended
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/comm", errors="replace") as file:
            yield ("process", process), f"the process {file.read().strip()}"


def _child_ids() -> list[int]:
    try:  # a look at every process there is takes long on a large machine
        return [
            int(pid)
            for thread in os.listdir("/proc/self/task")
            for pid in Path(f"/proc/self/task/{thread}/children").read_text().split()
        ]
    except OSError:  # not every kernel tells
        return [process.pid for process in descendants([os.getpid()])]


def _shared_memory() -> Iterator[tuple[tuple[object, ...], str]]:
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            place, rights = line.split(maxsplit=2)[:2]
            if b"w" in rights and b"s" in rights:
                yield ("memory", place), "shared memory"


def _functions() -> Iterator[tuple[tuple[object, ...], str]]:
    """What the fork server goes on to use; it cannot, once gevent has put its own into their place."""
    used = (os.fork, os.waitpid, os.read, select.select, signal.signal, time.sleep, threading.Thread)
    yield ("functions", *map(id, used)), "functions in place of Python's own (gevent?)"
