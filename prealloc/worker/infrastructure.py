"""Tells an infrastructure error, which is tried again, from the agent's own failure, which is not.

Client libraries are never imported. Their errors are recognised by the names of their classes and modules, and by what
they carry: an HTTP status, the body of an answer, or another error. `worker.retry_after` tells how long to wait.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from prealloc.errors import Retryable
from prealloc.model.outcome import TOO_MANY_REQUESTS

RETRIED_STATUS = frozenset({408, 409, 425, TOO_MANY_REQUESTS})
"""Beside all of 5xx."""

_CONNECTION_CLASSES = {
    # module, with those below it: the classes that say that a connection failed; those derived from them say so too
    "aiohttp": {"ClientConnectionError", "ClientPayloadError", "HttpProcessingError"},
    "anthropic": {"APIConnectionError"},
    "asyncio": {"IncompleteReadError"},
    "botocore": {"ConnectionError", "HTTPClientError", "IncompleteReadError"},
    "google.auth": {"TransportError"},
    "http.client": {"BadStatusLine", "IncompleteRead"},
    "httpcore": {"NetworkError", "ProxyError", "RemoteProtocolError", "TimeoutException"},
    "httpcore2": {"NetworkError", "ProxyError", "RemoteProtocolError", "TimeoutException"},
    "httpx": {"DecodingError", "NetworkError", "ProxyError", "RemoteProtocolError", "TimeoutException"},
    "httpx2": {"DecodingError", "NetworkError", "ProxyError", "RemoteProtocolError", "TimeoutException"},
    "litellm": {"APIConnectionError", "Timeout"},
    "openai": {"APIConnectionError"},
    "redis": {"ConnectionError", "InvalidResponse", "TimeoutError"},
    "requests": {"ChunkedEncodingError", "ConnectionError", "ContentDecodingError", "RetryError", "Timeout"},
    "ssl": {"SSLError"},
    "urllib3": {
        "DecodeError",
        "MaxRetryError",
        "NewConnectionError",
        "ProtocolError",
        "ProxyError",
        "SSLError",
        "TimeoutError",
    },
    "websockets": {"ConnectionClosedError", "InvalidMessage", "ProxyError"},
}

_NETWORK_ERRNO = {"EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EHOSTDOWN", "ENETRESET", "ETIMEDOUT", "ENOBUFS"}
_MACHINE_ERRNO = {"EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ENOSPC", "EDQUOT"}
_INFRASTRUCTURE_ERRNO = frozenset(getattr(errno, name) for name in _NETWORK_ERRNO | _MACHINE_ERRNO)

_NO_MORE_THREADS = "can't start new thread"
_NO_TUNNEL = "Tunnel connection failed"  # http.client's words for a proxy that refuses; an OSError without a number

_GOING_AWAY = frozenset({1001, 1006, 1011, 1012, 1013, 1014, 1015})
"""Close codes of a WebSocket by which the server, or what is between, gives up (RFC 6455, 7.4, and its registry)."""

_STATUS_OF_WORD = {
    # gRPC, and the bodies of Google's answers; google/rpc/code.proto gives each the HTTP status
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "aborted": 409,
    "resource_exhausted": 429,
    "internal": 500,
    "unknown": 500,
    "data_loss": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    # the bodies of OpenAI's and Anthropic's answers, which may come with status 200 or in the middle of a stream
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # AWS, which says most of these with status 400; without the word "Exception" at their end
    "throttling": 429,
    "throttled": 429,
    "requestthrottled": 429,
    "requestlimitexceeded": 429,
    "toomanyrequests": 429,
    "provisionedthroughputexceeded": 429,
    "slowdown": 429,
    "internalserver": 500,
    "serviceunavailable": 503,
    "modeltimeout": 504,
}

MOST_CAUSES = 32

T = TypeVar("T")


def ask(question: Callable[[BaseException], T], error: BaseException) -> T | None:
    """Asks an error one of the questions below; one whose own attributes raise says nothing."""
    try:
        return question(error)
    except BaseException:
        return None


def is_infrastructure(error: BaseException) -> bool:
    """Whether the error is the infrastructure's fault, or one that it wraps or was explicitly raised from.

    What was merely being handled when it was raised (`__context__`) is not a cause: a mistake in the agent's own
    `except ConnectionError:` block is the agent's. Of a group every member must be infrastructure.
    """
    return any(_is_one(each) for each in _causes(error))


def http_status(error: BaseException) -> int | None:
    """The HTTP status of the answer (400 to 599) that an error reports, or an error that it wraps or was raised from.

    Of several, as in a group, 429 before the first: it is what a lane must know.
    """
    found = [status for each in every_error(error) if (status := status_of(each)) is not None]
    return TOO_MANY_REQUESTS if TOO_MANY_REQUESTS in found else next(iter(found), None)


def every_error(error: BaseException) -> Iterator[BaseException]:
    """The error, all that it wraps or was raised from, and the members of groups among them."""
    for each in _causes(error):
        yield each
        if isinstance(each, BaseExceptionGroup):
            for member in each.exceptions:
                yield from every_error(member)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that this one error reports, if it is that of a failure."""
    for code in _codes(error):
        status = _STATUS_OF_WORD.get(code.lower().removesuffix("exception")) if isinstance(code, str) else code
        if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
            return int(status)
    return None


def body_of(error: BaseException) -> dict[str, Any]:
    """The body of the answer, if the error carries it: what it says of the error. Empty without one."""
    response = getattr(error, "response", None)  # of botocore it is the body
    google = getattr(error, "details", None) if _is_of(error, {"google": {"APIError"}}) else None
    for body in (response, getattr(error, "body", None), google):
        if isinstance(body, dict):
            inner = body.get("error", body.get("Error", body))
            return inner if isinstance(inner, dict) else body
    return {}


def _codes(error: BaseException) -> Iterator[Any]:
    """What may be a status, or a word that stands for one, the most telling first."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        yield body_of(error).get("Code")
        yield response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for holder in (error, response):
        yield getattr(holder, "status_code", None)
        status = getattr(holder, "status", None)
        if isinstance(status, int):  # of google.genai it is a word
            yield status
    if _is_of(error, {"google": {"APIError", "GoogleAPICallError"}}):
        yield getattr(error, "code", None)
    elif _is_of(error, {"grpc": {"RpcError"}}):
        code = getattr(error, "code", None)
        yield getattr(code() if callable(code) else None, "name", None)
    body = body_of(error)
    for said in (body.get("code"), body.get("status"), body.get("type")):
        yield int(said) if isinstance(said, str) and said.isdecimal() else said


def _is_one(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        members = [each for each in error.exceptions if "Cancelled" not in type(each).__name__]
        return bool(members) and all(is_infrastructure(each) for each in members)
    if isinstance(error, Retryable | ConnectionError | TimeoutError | socket.gaierror):
        return True
    status = status_of(error)
    if status is not None:
        return status in RETRIED_STATUS or status >= 500
    if isinstance(error, OSError) and (error.errno in _INFRASTRUCTURE_ERRNO or _NO_TUNNEL in str(error)):
        return True
    if isinstance(error, RuntimeError) and _NO_MORE_THREADS in str(error):
        return True
    received = getattr(error, "rcvd", None)  # a WebSocket's close frame, if one came
    if received is not None:
        return getattr(received, "code", None) in _GOING_AWAY
    return _is_of(error, _CONNECTION_CLASSES)


def _is_of(error: BaseException, classes: dict[str, set[str]]) -> bool:
    """Whether its class, or one that it is derived from, has one of these names in one of these modules."""
    return any(
        base.__name__ in names and f"{base.__module__}.".startswith(f"{module}.")
        for base in type(error).__mro__
        for module, names in classes.items()
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it wraps or was explicitly raised from, each once."""
    seen: list[BaseException] = []
    found = deque([error])
    while found and len(seen) < MOST_CAUSES:
        each = found.popleft()
        if not any(each is other for other in seen):
            seen.append(each)
            yield each
            found.extend(inner for inner in _inside(each) if isinstance(inner, BaseException))


def _inside(error: BaseException) -> Iterable[Any]:
    yield error.__cause__
    yield getattr(error, "reason", None)  # urllib, urllib3
    yield getattr(error, "cause", None)  # google.api_core
    last_attempt = getattr(error, "last_attempt", None)  # tenacity: a Future that is done
    exception = getattr(last_attempt, "exception", None)
    if callable(exception):
        yield exception(0)
