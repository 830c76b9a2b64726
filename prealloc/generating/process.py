"""The generator's process: imports it, and answers one task after the other until the master hangs up."""

from __future__ import annotations

import inspect
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from prealloc.errors import WorkerFunctionError
from prealloc.generating.messages import Answer
from prealloc.generating.source import SHAPE, signature_problem, version_of
from prealloc.model.json_value import NoJson
from prealloc.store.workflow_cache import MOST_WORKFLOW_BYTES
from prealloc.worker.function import brief_error, find_function
from prealloc.worker.process import die_with, text_streams
from prealloc.worker.result import encode_result


def main(channel: int, master: int, name: str, version: str, import_path: Sequence[str]) -> None:
    """Serves on the socket `channel`, a descriptor. The kernel ends this process when `master` dies."""
    die_with(master)
    text_streams()
    os.set_inheritable(channel, False)  # what the generator starts must not hold it open
    with socket.socket(fileno=channel) as connection, connection.makefile("rwb") as lines:

        def answer(told: Answer) -> None:
            lines.write(msgspec.json.encode(told) + b"\n")
            lines.flush()

        try:
            generator = _load(name, version, import_path)
        except WorkerFunctionError as error:
            answer(Answer(problem=error.problem, mend=error.mend))
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
        raise WorkerFunctionError(problem, where=name, mend=f"make it a plain function: {SHAPE}")
    is_now = version_of(function, sys.modules[name.partition(":")[0]])
    if is_now != version:
        raise WorkerFunctionError(
            f"its version is {is_now} when it is imported, and {version} by its source",
            where=name,
            mend='write it out in the module, such as version = "1"; if you have just edited it, plan again',
        )
    return function


def _generate(generator: Callable[[Any], Any], line: bytes) -> Answer:
    try:
        made = generator(msgspec.json.decode(line))
    except BaseException as error:  # it may do anything, sys.exit() included
        return Answer(problem=f"it raised {brief_error(error)}", mend="mend the generator, or leave the task out")
    if made is None:
        return Answer(problem="it returned None, which is no workflow", mend="return a JSON value for every task")
    try:
        return Answer(workflow=encode_result(made, MOST_WORKFLOW_BYTES))
    except NoJson as error:
        return Answer(problem=f"it returned no JSON: {error}", mend="return dicts, lists, text, numbers")
