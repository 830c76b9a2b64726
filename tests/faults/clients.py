"""Worker functions that ask a server with the real clients, and let their errors out as they are.

Each client asks for `url`, whose path is the trouble and the task, and returns once it has a whole answer.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet when it is imported

import aiohttp
import anthropic
import botocore.session
import docker
import grpc
import httpx
import litellm
import ollama
import openai
import redis
import requests
import tenacity
from botocore.config import Config
from google import genai
from google.api_core import exceptions as google_errors
from google.api_core import grpc_helpers
from google.api_core.retry import Retry
from redis.backoff import NoBackoff
from websockets.sync.client import connect

from prealloc import LightweightTask, TaskContext

TIMEOUT_S = 2.0  # not shorter: what is no timeout must not become one on a busy machine
UNVERIFIED: Any = {"verify": False}  # loading the certificates takes longer than all the rest
MESSAGES: Any = [{"role": "user", "content": "hello"}]


_openai_client = openai.OpenAI(api_key="none", max_retries=0, timeout=TIMEOUT_S)
_anthropic_client = anthropic.Anthropic(api_key="none", max_retries=0, timeout=TIMEOUT_S)
_aws = botocore.session.Session()
_aws_lock = threading.Lock()


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


def _anthropic(url: str) -> None:
    _anthropic_client.with_options(base_url=url).messages.create(model="m", messages=MESSAGES, max_tokens=9)


def _litellm(url: str) -> None:
    litellm.completion(
        model="openai/m", messages=MESSAGES, api_base=url, api_key="none", max_retries=0, timeout=TIMEOUT_S
    )


def _ollama(url: str) -> None:
    ollama.Client(host=url, timeout=TIMEOUT_S, **UNVERIFIED).chat(model="m", messages=MESSAGES)


def _genai(url: str) -> None:
    options = genai.types.HttpOptions(base_url=url, timeout=int(TIMEOUT_S * 1000), client_args=UNVERIFIED)
    client = genai.Client(api_key="none", http_options=options)
    client.models.generate_content(model="m", contents="hello")


def _google_rest(url: str) -> None:
    """As Google's generated clients do over REST, with their own retry, which gives up at once."""

    @Retry(timeout=0.0)
    def get() -> None:
        answer = requests.get(url, timeout=TIMEOUT_S)
        if answer.status_code >= 400:
            raise google_errors.from_http_response(answer)

    get()


def _grpc(url: str) -> None:
    _call(url, lambda method: method)


def _google_grpc(url: str) -> None:
    _call(url, grpc_helpers.wrap_errors)


def _call(url: str, wrapped: Callable[[Any], Any]) -> None:
    place = urlsplit(url)
    secure = place.scheme == "https" and place.hostname == "127.0.0.1"
    channel = (
        grpc.secure_channel(place.netloc, grpc.ssl_channel_credentials())
        if secure
        else grpc.insecure_channel(place.netloc)
    )
    with channel:
        wrapped(channel.unary_unary(place.path))(b"hello", timeout=TIMEOUT_S)


def _botocore(url: str) -> None:
    with _aws_lock:
        client = _aws.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="none",
            aws_secret_access_key="none",
            verify=False,
            config=Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}),
        )
    client.get_object(Bucket="b", Key="k")["Body"].read()


def _docker(url: str) -> None:
    docker.APIClient(base_url=url, version="1.43", timeout=TIMEOUT_S, tls=url.startswith("https")).containers()


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


def _tenacity(url: str) -> None:
    tenacity.Retrying(stop=tenacity.stop_after_attempt(1))(_requests, url)


CLIENTS: dict[str, Callable[[str], None]] = {
    "aiohttp": _aiohttp,
    "anthropic": _anthropic,
    "asyncio.TaskGroup": _group,
    "botocore": _botocore,
    "docker": _docker,
    "google.api_core": _google_rest,
    "google.api_core over gRPC": _google_grpc,
    "google.genai": _genai,
    "grpc": _grpc,
    "http.client": _http_client,
    "httpx": _httpx,
    "litellm": _litellm,
    "ollama": _ollama,
    "openai": _openai,
    "redis": _redis,
    "requests": _requests,
    "tenacity": _tenacity,
    "urllib": _urllib,
    "websockets": _websockets,
}
