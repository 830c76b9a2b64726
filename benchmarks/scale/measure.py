"""A command as a whole process: its seconds and the most memory that it, or a process of its own, has held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 1200.0


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    peak_bytes: int
    cpu_seconds: float
    said: str
    """Its standard output."""


class Failed(Exception):
    """A command did not do its work; the text says how."""


def run(*words: str, stdin: Path | None = None, memory_bytes: int | None = None) -> Cost:
    """Runs a command to its end. `memory_bytes` bounds its address space, so that one that needs too much just fails.

    Raises Failed.
    """
    import resource

    def bound() -> None:
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))

    source = open(stdin, "rb") if stdin is not None else subprocess.DEVNULL  # noqa: SIM115  # closed below
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            words, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, preexec_fn=bound
        )
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read().decode(errors="replace")
        errors = process.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if stdin is not None:
            source.close()  # type: ignore[union-attr]
    seconds = time.monotonic() - began
    if process.returncode:
        raise Failed(f"{' '.join(words)[:200]}: exit {process.returncode}: {errors[-300:]}")
    return Cost(seconds, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime, said)


def prealloc(*words: str, stdin: Path | None = None) -> Cost:
    """The same for a command of prealloc's."""
    return run(sys.executable, "-m", "prealloc", *words, stdin=stdin)


def middle(costs: Sequence[Cost]) -> Cost:
    """The median of several, and the most memory of any."""
    return Cost(
        median(cost.seconds for cost in costs),
        max(cost.peak_bytes for cost in costs),
        median(cost.cpu_seconds for cost in costs),
        costs[-1].said,
    )


def alternating(rounds: int, *commands: Callable[[], Cost]) -> list[Cost]:
    """Each command's median of several rounds, taken in turn, so that a slow moment of the machine meets them all."""
    costs = [[command() for command in commands] for _ in range(rounds)]
    return [middle(mine) for mine in zip(*costs, strict=True)]
