"""What processes of a way do: tell what they have reached, and read their tasks until they are told to stop.

Loads the standard library alone: whatever a worker loads beside its tasks would be counted as theirs.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from prealloc.processes.parent import die_with, fresh_interpreter

FOLDER = "PREALLOC_MEMORY"
"""Environment: the folder of this way. It marks each process that belongs to it, however it was started."""
JOB, MARKS, RELEASE, ENDED, LOG, POOL = "job.json", "marks", "release", "ended.json", "log", "tasks.pool"
FIRST, READY = "first", "ready"
WORKER = "a worker"
"""The last output of a master begins so if one of its workers failed."""
PAUSE_S = 0.05
"""Between two readings: as many readers as cores would otherwise measure each other."""

T = TypeVar("T")


class Job(NamedTuple):
    """What all processes of a way know."""

    library: str
    form: str | None
    """As loading.form_of says it."""
    workers: int
    tasks: int
    """For each worker."""
    seed: int
    strategy: str
    difficulty: str | None
    named: dict[str, str]
    """Where the tasks have their id and type, as the user said it."""


def read_job() -> Job:
    """The job of this process's way."""
    with open(in_folder(JOB), encoding="utf-8") as file:
        return Job(*json.load(file))


def in_folder(name: str) -> str:
    """The path of a file of this process's way."""
    return os.path.join(os.environ[FOLDER], name)


def dying_with_us() -> str:
    """The first line of a program that ends when this process does."""
    return f"from prealloc.processes.parent import die_with; die_with({os.getpid()})\n"


def start_fresh(count: int, module: str) -> None:
    """Starts interpreters that call `work(number)` of the module, as shells and runners start them."""
    for number in range(count):
        code = f"{dying_with_us()}from {module} import work; work({number})"
        command = fresh_interpreter(code)
        os.posix_spawn(command[0], command, os.environ)


def start_forked(count: int, work: Callable[[int], None]) -> None:
    """Forks workers: each starts with all that this process has loaded."""
    parent = os.getpid()
    for number in range(count):
        if os.fork() == 0:
            code = 1
            try:
                die_with(parent)
                work(number)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)


def wait_for(count: int) -> None:
    """Waits for all workers. At the first that fails it ends this process, and the kernel the others."""
    for _ in range(count):
        code = os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])
        if code:
            sys.exit(f"{WORKER} {f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'}")


def chosen(items: Sequence[T], job: Job, number: int) -> list[T]:
    """The tasks of one worker, sampled by itself."""
    return random.Random(f"{job.seed}/{number}").sample(items, job.tasks)


def read_tasks(tasks: Sequence[T], read: Callable[[T], object]) -> None:
    """Reads each task once, says so, and goes on reading until released."""
    for position, task in enumerate(tasks):
        read(task)
        if position == 0:
            mark(FIRST)
    mark(READY)
    keep_reading(tasks, read)


def keep_reading(tasks: Sequence[T], read: Callable[[T], object]) -> None:
    """Reads one task after the other, round and round, until released or left alone."""
    release, parent, position = in_folder(RELEASE), os.getppid(), 0
    while not os.path.exists(release) and os.getppid() == parent:
        read(tasks[position])
        position = (position + 1) % len(tasks)
        time.sleep(PAUSE_S)


def mark(what: str) -> None:
    """Notes the moment and this process: one line, in one write, into the file of all workers."""
    line = f"{os.getpid()} {what} {time.monotonic()}\n".encode()
    descriptor = os.open(in_folder(MARKS), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


def walk(value: Any) -> int:
    """Touches every value of a decoded workflow, so that reference counts change; gives how many there are."""
    stack, seen = [value], 0  # not by calling itself: workflows may be nested as deep as they like
    while stack:
        item = stack.pop()
        seen += 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return seen
