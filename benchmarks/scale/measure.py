"""A command as a whole process: its seconds and the most memory that it, or a process of its own, has held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 1200.0


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    peak_bytes: int
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
    return Cost(seconds, usage.ru_maxrss * 1024, said)


def prealloc(*words: str, stdin: Path | None = None) -> Cost:
    """The same for a command of prealloc's."""
    return run(sys.executable, "-m", "prealloc", *words, stdin=stdin)


def alternating(rounds: int, *commands: Sequence[str]) -> list[Cost]:
    """Each command's median of several rounds, taken in turn, so that a slow moment of the machine meets them all."""
    costs: list[list[Cost]] = [[] for _ in commands]
    for _ in range(rounds):
        for mine, words in zip(costs, commands, strict=True):
            mine.append(prealloc(*words))
    return [
        Cost(median(cost.seconds for cost in mine), max(cost.peak_bytes for cost in mine), mine[-1].said)
        for mine in costs
    ]
