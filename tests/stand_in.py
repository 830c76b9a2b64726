"""Hosts that only start and stay, for tests of providers: see faults/stand_in_host.py."""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from prealloc.engines.hosts.providers.client import ProviderProcess
from prealloc.engines.hosts.providers.messages import Gone, News, Started

WITHIN_S = 180.0
"""Engines need seconds of a processor to start something, and may have to share it."""
T = TypeVar("T")


def stand_in(folder: Path) -> str:
    """A program to give as a provider's option `python`: whatever its arguments, it runs the stand-in."""
    program = folder / "stand-in-python"
    script = Path(__file__).parent / "faults/stand_in_host.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    program.chmod(0o755)
    return str(program)


def spec(file: Path, **more: Any) -> bytes:
    """What a stand-in is given; 8 kB, as large as a host's own may be."""
    return json.dumps({"file": str(file), "filling": "x" * 8192, **more}).encode()


def within(happens: Callable[[], T | None], what: str, most_s: float = WITHIN_S) -> T:
    """Asks again and again until there is an answer."""
    end = time.monotonic() + most_s
    while (found := happens()) is None:
        assert time.monotonic() < end, f"{what} did not happen within {most_s:g} s"
        time.sleep(0.02)
    return found


def written(file: Path) -> Mapping[str, Any]:
    """What the stand-in has written, as soon as it has."""
    return within(lambda: json.loads(file.read_text()) if file.exists() else None, f"{file.name} by a host")


def await_news(provider: ProviderProcess, wanted: Callable[[News], bool], most_s: float = WITHIN_S) -> News:
    """The first news of this kind. It waits on the provider's descriptor, as the engine does."""
    end, seen = time.monotonic() + most_s, []
    poll = select.poll()
    poll.register(provider.fileno(), select.POLLIN)
    while True:
        for each in provider.news():
            seen.append(each)
            if wanted(each):
                return each
        assert time.monotonic() < end, f"not told within {most_s:g} s: {seen}"
        poll.poll(200)


def started(name: str) -> Callable[[News], bool]:
    return lambda news: isinstance(news, Started) and news.name == name


def gone(name: str) -> Callable[[News], bool]:
    return lambda news: isinstance(news, Gone) and news.name == name


def lives(pid: int) -> bool:
    """Whether it runs: a zombie whose parent does not reap does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def await_end(pid: int, most_s: float = WITHIN_S) -> None:
    within(lambda: None if lives(pid) else True, f"the end of process {pid}", most_s)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


__all__ = [
    "await_end",
    "await_news",
    "gone",
    "lives",
    "parent",
    "spec",
    "stand_in",
    "started",
    "within",
    "written",
]
