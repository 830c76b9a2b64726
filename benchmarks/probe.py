"""What workers do at each task, the same in every way: use the workflow, note the time, stay at the last one.

Imports nothing heavy: a pool's workers may load this module each by itself, and it must not count against them.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from functools import cache
from typing import Any

FOLDER = "PREALLOC_BENCH_FOLDER"
"""Environment: the folder with the workers' marks and the release file."""

TASKS = "PREALLOC_BENCH_TASKS"
"""Environment: how many tasks each worker gets."""

RELEASE = "release"
"""The file that the harness keeps locked as long as the workers are to stay alive."""

MARK = struct.Struct("<d")
"""One task start: CLOCK_MONOTONIC in seconds, which is one clock for all processes of a machine."""


def touch(workflow: Any) -> int:
    """Uses a workflow; then, and only then, the task counts as started. At this worker's last task it waits.

    A way that decodes workflows late must not gain by that: the mark comes after the first use.
    """
    length = len(workflow["optimal_sequence"])
    marks = _marks(os.getpid())
    os.write(marks, MARK.pack(time.clock_gettime(time.CLOCK_MONOTONIC)))
    if os.fstat(marks).st_size == MARK.size * int(os.environ[TASKS]):
        wait_for_release()
    return length


def run(task: Any, ctx: Any) -> int:
    """The worker function for prealloc."""
    return touch(task.workflow)


def run_slice(tasks: list[dict[str, Any]]) -> int:
    """The worker function for pools: one call gets one worker's tasks."""
    return sum(touch(task["workflow"]) for task in tasks)


def wait_for_release() -> None:
    """Waits without polling. The lock goes with its holder, so no worker outlives a harness that was killed."""
    descriptor = os.open(os.path.join(os.environ[FOLDER], RELEASE), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.close(descriptor)


@cache
def _marks(pid: int) -> int:
    """This process's own file of marks. Keyed by pid, since a fork copies the cache too."""
    path = os.path.join(os.environ[FOLDER], f"{pid}.marks")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
