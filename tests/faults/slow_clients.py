"""More worker functions like those in clients: with the clients that take a second or more to import."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet when it is imported

import anthropic
import botocore.session
import docker
import grpc
import litellm
import ollama
import requests
import tenacity
from botocore.config import Config
from clients import CLIENTS, MESSAGES, TIMEOUT_S, UNVERIFIED
from clients import ask as ask
from google import genai
from google.api_core import exceptions as google_errors
from google.api_core import grpc_helpers
from google.api_core.retry import Retry

_anthropic_client = anthropic.Anthropic(api_key="none", max_retries=0, timeout=TIMEOUT_S)
_aws = botocore.session.Session()
_aws_lock = threading.Lock()


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


def _tenacity(url: str) -> None:
    tenacity.Retrying(stop=tenacity.stop_after_attempt(1))(CLIENTS["requests"], url)


CLIENTS |= {
    "anthropic": _anthropic,
    "botocore": _botocore,
    "docker": _docker,
    "google.api_core": _google_rest,
    "google.api_core over gRPC": _google_grpc,
    "google.genai": _genai,
    "grpc": _grpc,
    "litellm": _litellm,
    "ollama": _ollama,
    "tenacity": _tenacity,
}
