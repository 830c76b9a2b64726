"""Worker functions of the edge cases: hostile errors, odd values, overlapping times."""

from __future__ import annotations

import asyncio
import enum
import os
import sys
import time
from typing import Any

from prealloc import LightweightTask, Retryable, TaskContext


class LazyError(Exception):
    """As real clients have them: a property that raises while it is not set."""

    @property
    def response(self) -> object:
        raise RuntimeError("the .response property has not been set")


class EvilStatus(Exception):
    @property
    def status_code(self) -> int:
        raise KeyError("no status")


class EvilHeaders(Exception):
    status_code = 429

    class Response:
        class Headers:
            def get(self, name: str) -> str:
                raise OSError("closed")

        headers = Headers()

    response = Response()


class EvilText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class EvilExit(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


class EvilClass(BaseException):
    """Not even an Exception."""


ERRORS: dict[str, type[BaseException]] = {
    each.__name__: each for each in (LazyError, EvilStatus, EvilHeaders, EvilText, EvilExit, EvilClass)
}


def raises(task: LightweightTask, ctx: TaskContext) -> Any:
    if task.workflow in ERRORS:
        raise ERRORS[task.workflow]("evil")
    return {"id": task.id}


async def raises_async(task: LightweightTask, ctx: TaskContext) -> Any:
    await asyncio.sleep(0.001)
    if task.workflow == "exit":
        sys.exit(3)
    if task.workflow == "interrupt":
        raise KeyboardInterrupt
    if task.workflow == "cancelled":
        raise asyncio.CancelledError
    return raises(task, ctx)


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


ODD: dict[str, Any] = {
    "text": {"a": 'é\u2028\u0000"\\/\x7f😀', "": [], "ключ": {}},
    "numbers": [0, -1, 2**63, 2**64 - 1, -(2**63), 1.0, 1e300, 5e-324, 0.1, -0.0],
    "nested": {"deep": [[[[{"x": None}]]]], "true": True, "false": False},
    "kinds": {"tuple": (1, 2), "enum": Colour.RED, "number": Number.ONE},
    "none": None,
    "string": "just text",
    "bare": 7,
}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def odd(task: LightweightTask, ctx: TaskContext) -> Any:
    return deep(500) if task.workflow == "deep" else ODD[task.workflow]


def timed(task: LightweightTask, ctx: TaskContext) -> Any:
    began = time.monotonic()
    time.sleep(0.15)
    return {"began": began, "ended": time.monotonic()}


async def timed_async(task: LightweightTask, ctx: TaskContext) -> Any:
    began = time.monotonic()
    await asyncio.sleep(0.15)
    return {"began": began, "ended": time.monotonic()}


def later(task: LightweightTask, ctx: TaskContext) -> Any:
    raise Retryable(after_s=30.0)


def patient(task: LightweightTask, ctx: TaskContext) -> Any:
    """Waits much and works little."""
    with ctx.waiting():
        time.sleep(0.6)
    with ctx.throttle(tokens=10) as turn:
        turn.used(5)
    ctx.log("waited")
    return {"remaining": ctx.remaining_s}


def hangs(task: LightweightTask, ctx: TaskContext) -> Any:
    if task.workflow == "hang":
        time.sleep(60)
    return task.id


async def hangs_async(task: LightweightTask, ctx: TaskContext) -> Any:
    if task.workflow == "hang":
        await asyncio.sleep(60)
    return task.id


async def is_a_coroutine(task: LightweightTask, ctx: TaskContext) -> Any:
    await asyncio.sleep(0)
    return task.id


def asks_a_loop(task: LightweightTask, ctx: TaskContext) -> Any:
    return asyncio.run(is_a_coroutine(task, ctx))


def tells_keys(task: LightweightTask, ctx: TaskContext) -> Any:
    """Raises what clients raise: with the request in it."""
    mine, other = os.environ["LANE_7"], os.environ["OTHER_API_KEY"]
    url = "http://h/v1?api_key=abc123&n=1"
    raise ValueError(f"no answer from {url} for {mine} or {other}, Authorization: Bearer tok456")


def one_argument(task: LightweightTask) -> Any: ...


no_function = 3


def limits(task: LightweightTask, ctx: TaskContext) -> Any:
    """What it may work; in the cell a it would go on for ever."""
    while ctx.settings.get("model") == "a":
        time.sleep(0.01)
    return {"id": task.id, "cell": [ctx.settings["model"], ctx.settings["rate"]], "timeout_s": ctx.timeout_s}
