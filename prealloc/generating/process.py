"""The generator's process: imports it, and answers one task after the other until the master hangs up.

    master ── socket ── guardian ── generator ── what it starts

The guardian forks the generator's process before anything is imported, and then only waits: for the end of that process
or of the master, whichever comes first. It is a child subreaper, and kills all that is left below it before it goes.
"""

from __future__ import annotations

import inspect
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from prealloc.errors import WorkerFunctionError
from prealloc.generating.source import SHAPE, signature_problem, version_of
from prealloc.model.policy import KILL_STEP_S
from prealloc.processes.parent import adopt_orphans, die_with
from prealloc.processes.tree import end_all_below
from prealloc.store.workflow_cache import MOST_WORKFLOW_BYTES
from prealloc.worker.function import brief_error, find_function
from prealloc.worker.process import text_streams
from prealloc.worker.result import write_result

MOST_ANSWER_BYTES = MOST_WORKFLOW_BYTES + 2**20

_LOOK_S = 0.1


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To a task: the workflow, or the problem. The first one, without either, says that the generator is imported.

    Master and generator take turns: a task's line, then an answer's line, each a JSON object.
    """

    workflow: Raw | UnsetType = UNSET
    problem: str | None = None
    hint: str | None = None


def main(channel: int, name: str, version: str, import_path: Sequence[str]) -> None:
    """Guards a process that serves on the socket `channel`, a descriptor; in that process it returns when it is done.

    The guardian exits with that process's code, or 128 + the signal that ended it.
    """
    adopt_orphans()
    text_streams()
    guardian = os.getpid()
    generator = os.fork()
    if generator == 0:
        die_with(guardian)
        _serve(channel, name, version, import_path)
        return
    code = 1
    try:
        code = _guard(channel, generator)
    finally:
        os._exit(code)


def _guard(channel: int, generator: int) -> int:
    """Waits for the end, and leaves nothing below this process. Returns the exit code."""
    master = select.poll()
    master.register(channel, 0)  # only whether its other end is gone
    ends_at = float("inf")
    status = None
    while status is None and time.monotonic() < ends_at:
        if ends_at == float("inf") and master.poll(_LOOK_S * 1000):
            ends_at = time.monotonic() + KILL_STEP_S
        elif ends_at < float("inf"):
            time.sleep(_LOOK_S / 10)
        pid, ended = os.waitpid(generator, os.WNOHANG)
        status = ended if pid else None
    left = end_all_below()
    code = os.waitstatus_to_exitcode(left.get(generator, 0) if status is None else status)
    return 128 - code if code < 0 else code


def _serve(channel: int, name: str, version: str, import_path: Sequence[str]) -> None:
    os.set_inheritable(channel, False)  # what the generator starts must not hold it open
    with socket.socket(fileno=channel) as connection, connection.makefile("rwb") as lines:

        def answer(told: Answer) -> None:
            lines.write(msgspec.json.encode(told) + b"\n")
            lines.flush()

        try:
            generator = _load(name, version, import_path)
        except WorkerFunctionError as error:
            answer(Answer(problem=error.problem, hint=error.hint))
            return
        answer(Answer())
        for line in lines:
            answer(_generate(generator, line))


def _load(name: str, version: str, import_path: Sequence[str]) -> Callable[[Any], Any]:
    function = find_function(name, import_path)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # built-in functions may have none to look at
        signature = None
    problem = signature_problem(signature) if signature else None
    if problem is None and (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)):
        problem = "it yields or is async; it must return one JSON value"
    if problem is not None:
        raise WorkerFunctionError(problem, where=name, hint=f"make it a plain function: {SHAPE}")
    is_now = version_of(function, sys.modules[name.partition(":")[0]])
    if is_now != version:
        raise WorkerFunctionError(
            f"its version is {is_now} when it is imported, but {version} in its source",
            where=name,
            hint='write it out in the module, such as version = "1"; if you have just edited it, plan again',
        )
    return function


def _generate(generator: Callable[[Any], Any], line: bytes) -> Answer:
    try:
        made = generator(msgspec.json.decode(line))
    except BaseException as error:  # it may do anything, sys.exit() included
        return Answer(problem=f"it raised {brief_error(error)}", hint="fix the generator, or leave the task out")
    if made is None:
        return Answer(problem="it returned None, which is not a workflow", hint="return a JSON value for every task")
    workflow, _, flaws = write_result(made, MOST_WORKFLOW_BYTES)
    if flaws:
        return Answer(problem=f"it did not return JSON: {flaws[0]}", hint="return dicts, lists, text, numbers")
    return Answer(workflow=workflow)
