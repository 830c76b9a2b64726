"""Tells an infrastructure error, which is tried again, from the agent's own failure, which is not.

Client libraries are recognised by shape, never imported: by `status_code`, and by the names of their classes.
"""

from __future__ import annotations

import errno
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from prealloc.errors import Retryable
from prealloc.model.outcome import FORBIDDEN, PAYMENT_REQUIRED, TOO_MANY_REQUESTS, UNAUTHORIZED, Answer

RETRIED_STATUS = frozenset({408, 409, 425, TOO_MANY_REQUESTS})
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


T = TypeVar("T")


def ask(question: Callable[[BaseException], T], error: BaseException) -> T | None:
    """Asks an error one of the questions below; one whose own attributes raise tells nothing."""
    try:
        return question(error)
    except BaseException:
        return None


def is_infrastructure(error: BaseException) -> bool:
    """Whether the error, or one it was explicitly raised from, is the infrastructure's fault."""
    return any(_is_one(cause) for cause in _causes(error))


def retry_after_s(error: BaseException) -> float | None:
    """How long the server asked to wait, in seconds; None if it did not.

    Retryable's after_s, or a Retry-After header (RFC 9110, 10.2.3: seconds or a date), or, of an answer 429, the
    longest of the x-ratelimit-reset headers that common servers send ("1s", "6m0s", "120ms", seconds, or a date
    as seconds since 1970).
    """
    for cause in _causes(error):
        if isinstance(cause, Retryable) and cause.after_s is not None:
            return max(0.0, cause.after_s)
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if (asked_s := _seconds(_header(headers, "Retry-After"))) is not None:
            return asked_s
        if _status_code(cause) == TOO_MANY_REQUESTS:
            resets = [_reset_s(_header(headers, name)) for name in _RESETS]
            if known := [reset_s for reset_s in resets if reset_s is not None]:
                return max(known)
    return None


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, or one that it was explicitly raised from."""
    return next((code for cause in _causes(error) if (code := _status_code(cause)) is not None), None)


def refused_status(error: BaseException) -> int | None:
    """The status by which a server has refused the key itself; None if it has not.

    401 and 402 say so. 403 may be moderation, or a page that the agent has visited: its body must speak of key,
    permission or billing.
    """
    for cause in _causes(error):
        code = _status_code(cause)
        if code in (UNAUTHORIZED, PAYMENT_REQUIRED) or (code == FORBIDDEN and _speaks_of_the_key(cause)):
            return code
    return None


def answer_of(error: BaseException | None) -> Answer:
    """What came of a request whose block was left by this error; None: by none."""
    if error is None:
        return Answer(came_through=True)
    refused = ask(refused_status, error)
    status = ask(http_status, error) if refused is None else refused
    return Answer(False, status, ask(retry_after_s, error), refused is not None)


_OF_THE_KEY = re.compile(
    r"\bkeys?\b|api[ _-]?key|permission|billing|payment|credit|balance|quota|(?<!re)subscription|authori[sz]ed|"
    r"authentication|credential|security token|access[ _-]?denied|(?:have|has|no) access",
    re.I,
)
_OF_THE_CONTENT = re.compile(r"moderation|flagged|content[ _-]?(?:policy|filter|management)|safety|guardrail", re.I)
_PAGE = re.compile(r"\s*<")
_ADDRESS = re.compile(r"https?://\S+")
_BODY_LOOKED_AT = 10_000
"""Characters: no server that refuses a key says so later in what it says."""


def _speaks_of_the_key(error: BaseException) -> bool:
    said = _body(error)
    if _PAGE.match(said) or _OF_THE_CONTENT.search(said):
        return False  # a page is for people, whatever it speaks of: no API answers so
    return _OF_THE_KEY.search(said) is not None


def _body(error: BaseException) -> str:
    """What the server answered, as far as the error has it; else the error's own text, without addresses."""
    body = getattr(error, "body", None)  # openai, anthropic
    if not body:
        body = ask(lambda each: each.response.text, error)  # type: ignore[attr-defined]  # requests, httpx
    return str(body)[:_BODY_LOOKED_AT] if body else _ADDRESS.sub("", str(error)[:_BODY_LOOKED_AT])


def _status_code(error: BaseException) -> int | None:
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
    code = _status_code(error)
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


_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_LONG_AGO = 1e9
"""A larger number of seconds is a date: it was passed in 2001."""


def _header(headers: Any, name: str) -> str | None:
    """A header's text; plain dicts are asked in both spellings."""
    get = getattr(headers, "get", None)
    value = (get(name) or get(name.lower())) if callable(get) else None
    return str(value) if isinstance(value, str | int | float) else None


def _reset_s(value: str | None) -> float | None:
    found = _SPAN.fullmatch(value.strip()) if value else None
    if found is not None and any(found.groups()):
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    seconds_or_date = _seconds(value)
    if seconds_or_date is not None and seconds_or_date > _LONG_AGO:
        return max(0.0, seconds_or_date - time.time())
    return seconds_or_date


def _seconds(value: str | None) -> float | None:
    if value is None:
        return None
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
