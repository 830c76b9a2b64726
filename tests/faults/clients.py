"""Worker functions that ask a server with the real clients, and let their errors out as they are.

Each client asks for `url`, whose path is the trouble and the task, and returns once it has a whole answer. Those that
take long to import are in slow_clients.
"""

from __future__ import annotations

import asyncio
import pickle
import urllib.request
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import openai
import redis
import requests
from redis.backoff import NoBackoff
from websockets.sync.client import connect

from prealloc import LightweightTask, TaskContext

TIMEOUT_S = 2.0  # not shorter: what is no timeout must not become one on a busy machine
UNVERIFIED: Any = {"verify": False}  # loading the certificates takes longer than all the rest
MESSAGES: Any = [{"role": "user", "content": "hello"}]


_openai_client = openai.OpenAI(api_key="none", max_retries=0, timeout=TIMEOUT_S)


def ask(task: LightweightTask, ctx: TaskContext) -> Any:
    """Asks with the client that the task names, at the place that it names."""
    client = task.workflow["client"]
    try:
        CLIENTS[client](task.workflow["url"])
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # the reason why law 6 is one
            Path(ctx.settings["signals"], f"does-not-unpickle.{client}").touch()
        raise
    return {"success": True}


def _urllib(url: str) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        answer.read()


def _http_client(url: str) -> None:
    """It raises nothing for a status."""
    place = urlsplit(url)
    kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=TIMEOUT_S)
    connection.request("GET", place.path)
    connection.getresponse().read()
    connection.close()


def _requests(url: str) -> None:
    requests.get(url, timeout=TIMEOUT_S).raise_for_status()


def _httpx(url: str) -> None:
    httpx.get(url, timeout=TIMEOUT_S, **UNVERIFIED).raise_for_status()


def _aiohttp(url: str) -> None:
    async def get() -> None:
        limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(raise_for_status=True, trust_env=True, timeout=limit) as session,
            session.post(url) as answer,  # a GET is sent again by the client itself
        ):
            await answer.read()

    asyncio.run(get())


def _group(url: str) -> None:
    """A request in a task group, whose errors come as an ExceptionGroup."""

    async def get(client: httpx.AsyncClient) -> None:
        (await client.get(url)).raise_for_status()

    async def grouped() -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, **UNVERIFIED) as client, asyncio.TaskGroup() as group:
            group.create_task(get(client))

    asyncio.run(grouped())


def _openai(url: str) -> None:
    _openai_client.with_options(base_url=url).chat.completions.create(model="m", messages=MESSAGES)


def _redis(url: str) -> None:
    place = urlsplit(url)
    client = redis.Redis(
        host=place.hostname or "",
        port=place.port or 6379,
        socket_timeout=TIMEOUT_S,
        retry=redis.retry.Retry(NoBackoff(), 0),
        protocol=2,
        ssl=place.scheme == "https",
    )
    client.get(place.path.strip("/"))


def _websockets(url: str) -> None:
    with connect(url.replace("http", "ws"), open_timeout=TIMEOUT_S) as connection:
        connection.recv(TIMEOUT_S)


CLIENTS: dict[str, Callable[[str], None]] = {
    "aiohttp": _aiohttp,
    "asyncio.TaskGroup": _group,
    "http.client": _http_client,
    "httpx": _httpx,
    "openai": _openai,
    "redis": _redis,
    "requests": _requests,
    "urllib": _urllib,
    "websockets": _websockets,
}
