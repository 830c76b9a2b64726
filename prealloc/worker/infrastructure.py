"""Tells an infrastructure error, which is tried again, from the agent's own failure, which is not.

Client libraries are recognised by shape, never imported: by `status_code`, and by the names of their classes.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from prealloc.errors import Retryable

RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""Beside all of 5xx."""

_NETWORK_ERRNO = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ENETRESET, errno.ETIMEDOUT}
)

_CLIENT_CLASSES = frozenset(
    {
        "TransportError",  # httpx
        "NetworkError",  # httpcore
        "TimeoutException",  # httpx, httpcore
        "RemoteProtocolError",  # httpx, httpcore
        "APIConnectionError",  # openai, anthropic, litellm
        "APITimeoutError",  # openai, anthropic
        "Timeout",  # requests, litellm
        "ClientConnectionError",  # aiohttp
        "IncompleteRead",  # http.client
        "ProtocolError",  # urllib3
        "HTTPTimeoutError",
    }
)


def is_infrastructure(error: BaseException) -> bool:
    """Whether the error, or one it was explicitly raised from, is the infrastructure's fault."""
    return any(_is_one(cause) for cause in _causes(error))


def retry_after_s(error: BaseException) -> float | None:
    """How long the server asked to wait: Retryable's after_s, or a Retry-After header (seconds or a date)."""
    for cause in _causes(error):
        if isinstance(cause, Retryable) and cause.after_s is not None:
            return max(0.0, cause.after_s)
        headers = getattr(getattr(cause, "response", None), "headers", None)
        get = getattr(headers, "get", None)
        value = get("retry-after") or get("Retry-After") if callable(get) else None
        if isinstance(value, str | int | float) and (asked_s := _seconds(str(value))) is not None:
            return asked_s
    return None


def status_code(error: BaseException) -> int | None:
    """The HTTP status an error carries, on itself or on its response."""
    for holder in (error, getattr(error, "response", None)):
        code = getattr(holder, "status_code", None)
        if isinstance(code, int) and not isinstance(code, bool):
            return code
    return None


def _is_one(error: BaseException) -> bool:
    if isinstance(error, Retryable | ConnectionError | TimeoutError | socket.gaierror):
        return True
    ssl = sys.modules.get("ssl")  # who has not loaded it cannot have raised its errors
    if ssl is not None and isinstance(error, ssl.SSLError):
        return True
    code = status_code(error)
    if code is not None:
        return code in RETRIED_STATUS or 500 <= code <= 599
    if isinstance(error, OSError) and error.errno in _NETWORK_ERRNO:
        return True
    return any(base.__name__ in _CLIENT_CLASSES for base in type(error).__mro__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, the way client libraries wrap the socket's errors."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        import email.utils  # here, for it takes 10 ms to load and a Retry-After with a date is rare

        try:
            when: Any = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        seconds = when.timestamp() - time.time()
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None
