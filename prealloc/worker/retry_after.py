"""How long a server asked to wait before it is asked again, as the error of a client says it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from prealloc.errors import Retryable
from prealloc.model.outcome import TOO_MANY_REQUESTS
from prealloc.model.policy import LEAST_PAUSE_S, NEVER_S
from prealloc.worker.infrastructure import body_of, every_error, status_of

_QUOTA_USED_UP = "insufficient_quota"

_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_LONG_AGO_S = 1e9
"""A larger number of seconds is a date: it was passed in 2001."""
_LONG_AGO_MS = 1e11
"""And a number as large as this is a date in milliseconds: in seconds it is of the year 5138."""


def retry_after_s(error: BaseException) -> float | None:
    """How long the server asked to wait, in seconds; None if it did not. Of several in a group, the longest.

    Retryable's `after_s`; or a Retry-After header (RFC 9110, 10.2.3: seconds or a date), retry-after-ms, the RetryInfo
    of Google's answers, or, of an answer 429, the longest of the x-ratelimit-reset headers that common servers send
    ("1s", "6m0s", "120ms", seconds, or a date). A server that names less than a second, or a time that is past, gets
    that second. NEVER_S if no wait helps: the quota is used up.
    """
    asked = [after_s for each in every_error(error) if (after_s := _asked_s(each)) is not None]
    return max(asked, default=None)


def _asked_s(error: BaseException) -> float | None:
    if isinstance(error, Retryable):
        return None if error.after_s is None else max(0.0, error.after_s)
    status = status_of(error)
    if status == TOO_MANY_REQUESTS and _quota_used_up(error):
        return NEVER_S
    asked_s = next(_told(error, status), None)
    return None if asked_s is None else max(LEAST_PAUSE_S, asked_s)


def _quota_used_up(error: BaseException) -> bool:
    return _QUOTA_USED_UP in (body_of(error).get("code"), body_of(error).get("type")) or _QUOTA_USED_UP in str(error)


def _told(error: BaseException, status: int | None) -> Iterator[float]:
    """What the answer says, the most telling first."""
    headers = _headers(error)
    waits = [_wait_s(headers.get(name), unit_s=0.001) for name in ("retry-after-ms", "grpc-retry-pushback-ms")]
    waits += [_wait_s(headers.get("retry-after")), _retry_info_s(body_of(error))]
    resets = [_wait_s(headers.get(name)) for name in _RESETS] if status == TOO_MANY_REQUESTS else []
    waits.append(max((reset_s for reset_s in resets if reset_s is not None), default=None))
    return (wait_s for wait_s in waits if wait_s is not None)


def _headers(error: BaseException) -> dict[str, Any]:
    """The headers of the answer, by their names in small letters."""
    response = getattr(error, "response", None)
    metadata = body_of(error).get("metadata")  # OpenRouter, of the provider behind it
    trailing = getattr(error, "trailing_metadata", None)  # gRPC
    places: list[Any] = [
        response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, dict) else None,  # botocore
        getattr(response, "headers", None),
        getattr(error, "headers", None),
        getattr(error, "litellm_response_headers", None),
        metadata.get("headers") if isinstance(metadata, dict) else None,
        dict(trailing() or ()) if callable(trailing) else None,
    ]
    return {
        str(name).lower(): value for headers in places if hasattr(headers, "items") for name, value in headers.items()
    }


def _retry_info_s(body: dict[str, Any]) -> float | None:
    """`{"@type": ".../google.rpc.RetryInfo", "retryDelay": "34.07s"}` among the details of an error."""
    details = body.get("details")
    delays = [each.get("retryDelay") for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    return next((_wait_s(delay) for delay in delays), None)


def _wait_s(value: Any, *, unit_s: float = 1.0) -> float | None:
    """The wait that a header tells: a span with units, a number, or a moment; less than 0 if that is past."""
    if not isinstance(value, str | int | float) or not (value := str(value).strip()):
        return None
    span = _SPAN.fullmatch(value)
    if span is not None:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in span.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    try:
        number = float(value)
    except ValueError:
        moment_s = _moment_s(value)
        return None if moment_s is None else moment_s - time.time()
    if number != number or abs(number) == float("inf"):
        return None
    if number > _LONG_AGO_MS:
        return number / 1000 - time.time()
    return number - time.time() if number > _LONG_AGO_S else number * unit_s


def _moment_s(value: str) -> float | None:
    """A date in the words of HTTP or of ISO 8601, in seconds since 1970."""
    # Here, for it takes 10 ms to load and a date is rare.
    import email.utils
    from datetime import UTC, datetime

    for read in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            moment = read(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
    return None
