"""Worker functions that send requests to a server on loopback, most of them in their turn on the shard's lane."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import time
import urllib.request
from typing import Any

import httpx
import requests

from prealloc import LightweightTask, TaskContext


class Refused(Exception):
    """An answer that is an error, as clients raise it: with status and response."""

    def __init__(self, status_code: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status_code} {body.decode()}")
        self.status_code = status_code
        self.response = self
        self.headers = headers


def ask(port: int, path: str) -> None:
    """One request. Raises Refused for any answer but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body=b"{}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Refused(answer.status, dict(answer.headers), body)


def saturate(task: LightweightTask, ctx: TaskContext) -> Any:
    """Sends as many requests as the task says, without a pause of its own."""
    for _ in range(task.workflow["requests"]):
        if ctx.settings.get("limited", True):
            with ctx.throttle(tokens=task.workflow.get("tokens", 0)):
                ask(ctx.settings["port"], f"/{ctx.lane}")
        else:
            ask(ctx.settings["port"], f"/{ctx.lane}")
    return {"waited": True}


async def saturate_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same from coroutines."""
    for _ in range(task.workflow["requests"]):
        async with ctx.throttle(tokens=task.workflow.get("tokens", 0)):
            await asyncio.to_thread(ask, ctx.settings["port"], f"/{ctx.lane}")
    return {"waited": True}


async def refused_late(task: LightweightTask, ctx: TaskContext) -> Any:
    """A `hang` is over its time; while it is cancelled, it meets a refused key outside of any turn."""
    if task.workflow != "hang":
        return True
    try:
        return await asyncio.sleep(60)
    finally:
        error = RuntimeError("Incorrect API key")
        error.status_code = 401  # type: ignore[attr-defined]
        raise error


def raises(task: LightweightTask, ctx: TaskContext) -> Any:
    """One request, whose error ends the attempt."""
    with ctx.throttle():
        ask(ctx.settings["port"], f"/{ctx.lane}")
    return {"attempt": ctx.attempt}


def dies_holding(task: LightweightTask, ctx: TaskContext) -> Any:
    """The first attempt of a `die` dies with the budget it was given; others send one request."""
    with ctx.throttle(tokens=task.workflow.get("tokens", 0)) as turn:
        if task.workflow.get("die") and ctx.attempt == 1:
            os.kill(os.getpid(), 9)
        ask(ctx.settings["port"], f"/{ctx.lane}")
        turn.used(task.workflow.get("tokens", 0))
    return time.time()


def asks_with_httpx(task: LightweightTask, ctx: TaskContext) -> Any:
    """One request by a real client, whose error ends the attempt; in a turn unless the task says otherwise."""
    import httpx

    with contextlib.nullcontext() if (task.workflow or {}).get("no turn") else ctx.throttle():
        httpx.post(f"http://127.0.0.1:{ctx.settings['port']}/{ctx.lane}", content=b"{}").raise_for_status()
    return {"success": True}


def swallows(task: LightweightTask, ctx: TaskContext) -> Any:
    """Catches whatever a request raises, then goes on as the task says."""
    try:
        with ctx.throttle():
            ask(ctx.settings["port"], f"/{ctx.lane}")
    except Refused as error:
        match task.workflow["then"]:
            case "return":
                return {"success": False, "error": str(error)}
            case "raise":
                raise ValueError("the model said nothing") from None
            case "exit":
                raise SystemExit(1) from None
            case "hang":
                time.sleep(1000)
    return {"success": True}


def ask_to_the_end(task: LightweightTask, ctx: TaskContext) -> Any:
    """One request that may take as long as the attempt, as the documentation advises; the server stays silent."""
    url, left_s = f"{ctx.settings['server']}/silent/{task.id}", ctx.remaining_s
    match task.workflow["client"]:
        case "requests":
            requests.get(url, timeout=left_s)
        case "httpx":
            httpx.get(url, timeout=left_s)
        case "urllib":
            urllib.request.urlopen(url, timeout=left_s).close()
        case "asyncio":
            asyncio.run(asyncio.wait_for(asyncio.sleep(3600), left_s))
