"""What leaves a worker: results and errors as JSON text, and which errors are tried again."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import email.utils
import enum
import errno
import fractions
import json
import socket
import ssl
import time
import uuid
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealloc.errors import Retryable
from prealloc.model.json_value import MOST_DEPTH
from prealloc.model.outcome import verdict
from prealloc.model.policy import LEAST_PAUSE_S, NEVER_S
from prealloc.statistics.difference import paired
from prealloc.statistics.rate import mean
from prealloc.worker.infrastructure import http_status, is_infrastructure
from prealloc.worker.result import describe, write_result
from prealloc.worker.retry_after import retry_after_s

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=30,
)


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Step:
    tool: str
    took: Any
    inner: Any = None


class Answer(pydantic.BaseModel):
    success: bool
    at: datetime.datetime
    steps: list[Step]


class Secret(pydantic.BaseModel):
    key: pydantic.SecretStr


def written(value: Any, most_bytes: int = 10**6) -> bytes:
    result = write_result(value, most_bytes)
    assert not result.flaws
    assert json.loads(bytes(result.json)) == result.value
    return bytes(result.json)


@given(json_values)
def test_json_goes_through_unchanged(value: Any) -> None:
    """Every JSON value comes out of its text as it went in, types and all."""
    back = json.loads(written(value))
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {"b": float("nan")}]}, "result.a[1].b"),
        ({"a": float("-inf")}, "result.a"),
        ([b""], "result[0]"),
        ({"x": {"y": object()}}, "result.x.y"),
        ({"x": datetime.timedelta(1)}, "result.x"),
        ({"x": {1, 2, b""}}, "result.x"),
        ({"x": numpy.array([0.5, numpy.nan])}, "result.x[1]"),
        ({"x": numpy.timedelta64(1, "ns")}, "result.x"),
        ({"x": memoryview(b"x")}, "result.x"),
        ({"x": decimal.Decimal("Infinity")}, "result.x"),
        ({"x": Answer}, "result.x"),
        ({1: 2, "1": 3}, "result"),
        ({"x": Secret(key=pydantic.SecretStr("k"))}, "result.x.key"),
        ({"x": 1j}, "result.x"),
        ({(1, 2): 3}, "result"),
        ({"k": {"\ud800": 1}}, "result.k"),
        ("\udfff", "result"),
        ([2**64], "result[0]"),
        ([-(2**63) - 1], "result[0]"),
    ],
)
def test_anything_else_names_its_place_and_the_rest_is_kept(value: Any, place: str) -> None:
    """What has no obvious JSON form is null or left out, with the path to it told, and nothing else is lost."""
    result = write_result({"score": 1, "result": value}, 10**6)
    assert [flaw.partition(":")[0] for flaw in result.flaws] == [place.replace("result", "result.result", 1)]
    back = json.loads(bytes(result.json))
    assert back == result.value
    assert back["score"] == 1


DAY = datetime.datetime(2026, 3, 4, 5, 6, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (numpy.bool_(True), True),
        (numpy.int8(3), 3),
        (numpy.float64(0.5), 0.5),
        (numpy.float32(0.5), 0.5),
        (numpy.longdouble(0.5), 0.5),
        (numpy.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (numpy.datetime64("2026-03-04"), "2026-03-04"),
        (decimal.Decimal("7"), 7),
        (decimal.Decimal("0.25"), 0.25),
        (fractions.Fraction(1, 4), 0.25),
        (DAY, "2026-03-04T05:06:00+00:00"),
        (DAY.date(), "2026-03-04"),
        (Path("runs/a"), "runs/a"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Point(1, Colour.RED), [1, "red"]),
        ({3, 1, 2}, [1, 2, 3]),
        ({"b", 1, "a"}, ["a", "b", 1]),
        ({frozenset({8, 1}), frozenset({5})}, [[1, 8], [5]]),
        (collections.deque([1]), [1]),
        (MappingProxyType({Colour.RED: 1, 2: 3}), {"red": 1, "2": 3}),
        (Step("search", numpy.float64(0.5)), {"tool": "search", "took": 0.5, "inner": None}),
        (
            Answer(success=True, at=DAY, steps=[Step("a", {2, 1})]),
            {
                "success": True,
                "at": "2026-03-04T05:06:00+00:00",
                "steps": [{"tool": "a", "took": [1, 2], "inner": None}],
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_one_obvious_form_is_written_in_it(value: Any, form: Any) -> None:
    """Alone and inside: the numbers, models, dates, paths and sets that agents return."""
    assert json.loads(written(value)) == form
    assert json.loads(written({"x": [value]})) == {"x": [form]}
    assert repr(json.loads(written(value))) == repr(form)


def test_a_score_can_be_squared_and_added_up() -> None:
    """Law: what is taken as a score has a mean, an interval and a difference; a number of another size is no score."""
    most = 1e100
    scores = [verdict({"score": sign * size}).score for size in (most, int(most), 0) for sign in (1, -1)]
    tasks = {str(n): [score] for n, score in enumerate(scores) if score is not None}
    assert len(tasks) == 6
    assert mean(tasks) is not None
    assert paired(tasks, dict(zip(tasks, reversed(tasks.values()), strict=True)), limits=None) is not None
    for none in (2e100, -1e308, 10**101, True, "1", float("nan")):
        assert verdict({"score": none}).score is None


def test_success_is_read_from_what_is_written() -> None:
    """A model's, a dataclass's and numpy's success count as their JSON does."""
    for value in (
        Answer(success=False, at=DAY, steps=[]),
        {"success": numpy.int64(0)},
        {"success": numpy.bool_(False)},
    ):
        assert verdict(write_result(value, 10**6).value).success is False


def test_a_cycle_and_a_tower_are_refused_within_the_default_stack() -> None:
    """However deep: named, no RecursionError; and what is just allowed goes through."""
    cycle: list[Any] = []
    cycle.append({"again": cycle, "too": cycle})
    chain = Step("a", 1)
    chain.took = chain.inner = chain
    for endless in (cycle, chain):
        assert [flaw.partition("deeper")[2] for flaw in write_result(endless, 10**6).flaws] == [
            f" than {MOST_DEPTH}, or a cycle"
        ] * 2
    tower: Any = None
    for _ in range(100_000):
        tower = [tower]
    assert write_result(tower, 10**6).flaws
    while tower:  # taken apart level by level: freeing it at once needs a deep stack
        tower = tower[0]
    allowed: Any = 1
    for _ in range(MOST_DEPTH - 1):
        allowed = [allowed]
    assert written(allowed)


def test_the_limit_is_in_bytes_of_json() -> None:
    """Two bytes of quotes count."""
    assert written("x" * 98, 100)
    too_long = write_result("x" * 99, 100)
    assert (too_long.flaws, too_long.value) == (["result: 101 bytes of JSON, the limit is 100"], None)


def test_a_result_that_is_too_long_loses_its_largest_fields_only() -> None:
    """What fits was paid for as well, and it does fit."""
    result = write_result({"success": True, "trace": "x" * 99, "text": "y" * 40}, 100)
    assert result.value == {"success": True, "trace": None, "text": "y" * 40}
    assert len(result.json) <= 100
    assert result.flaws == ["result.trace: 101 bytes of JSON, the limit is 100 for the whole result"]


class Lonely(Exception):
    """Carries text that no UTF-8 can hold."""

    def __str__(self) -> str:
        return "half \ud800 pair"


class Long(Exception):
    def __str__(self) -> str:
        return "x" * 10**7


@pytest.mark.parametrize("error", [Lonely(), Long(), ValueError(), SystemExit(3), KeyboardInterrupt()])
def test_every_error_can_be_told(error: BaseException) -> None:
    """Text that encodes, of bounded size, with a type."""
    try:
        raise error
    except BaseException as caught:
        info = describe(caught)
    assert info.type.endswith(type(error).__name__)
    assert len(json.dumps([info.message, info.traceback]).encode()) < 200_000


def with_status(status: Any) -> Exception:
    error = Exception("HTTP")
    error.status_code = status  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "error",
    [
        Retryable(),
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(),
        ssl.SSLError(),
        OSError(errno.EHOSTUNREACH, "no route"),
        *map(with_status, (408, 409, 425, 429, 500, 502, 503, 504, 529, 599)),
    ],
    ids=repr,
)
def test_infrastructure(error: Exception) -> None:
    """Law 10: these are tried again; raised from, they still are."""
    assert is_infrastructure(error)
    wrapped = RuntimeError("client")
    wrapped.__cause__ = error
    assert is_infrastructure(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        AssertionError(),
        MemoryError(),
        FileNotFoundError(),
        PermissionError(),
        *map(with_status, (200, 400, 401, 403, 404, 422, 600, "429", True, None)),
    ],
    ids=repr,
)
def test_the_agents_own_failure(error: Exception) -> None:
    """Law 10: these are not: pass@1 would not be pass@1 any more. Nor is what was merely under way meanwhile."""
    assert not is_infrastructure(error)
    error.__context__ = ConnectionResetError()
    assert not is_infrastructure(error)


def test_causes_in_a_ring_end() -> None:
    """Raised from each other: looked at, not for ever."""
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert not is_infrastructure(one)


def test_a_group_is_infrastructure_if_all_of_it_is() -> None:
    """One member that is the agent's makes it the agent's; cancelled neighbours say nothing. 429 is told first."""
    reset, bug = ConnectionResetError(), KeyError("a")
    infra = ExceptionGroup("both", [with_status(503), ExceptionGroup("inner", [with_status(429), reset])])
    assert is_infrastructure(infra)
    assert http_status(infra) == 429
    assert is_infrastructure(BaseExceptionGroup("one of them", [reset, asyncio.CancelledError()]))
    assert not is_infrastructure(ExceptionGroup("both", [reset, bug]))
    assert not is_infrastructure(BaseExceptionGroup("nothing", [asyncio.CancelledError()]))
    wrapped = RuntimeError("client")
    wrapped.__cause__ = infra
    assert is_infrastructure(wrapped)


def fields(error: BaseException, **named: Any) -> Any:
    for name, value in named.items():
        setattr(error, name, value)
    return error


def of_module(module: str, name: str, base: type[Exception] = Exception) -> Exception:
    made: Exception = type(name, (base,), {"__module__": module})()
    return made


def test_classes_count_by_their_module_too() -> None:
    """The agent may have a Timeout of its own; a class below a client's is the client's."""
    assert is_infrastructure(of_module("requests.exceptions", "Timeout"))
    assert is_infrastructure(of_module("mine", "Slow", type(of_module("requests.exceptions", "Timeout"))))
    assert not is_infrastructure(of_module("my_agent", "Timeout"))
    assert not is_infrastructure(of_module("requests_of_mine", "Timeout"))
    assert not is_infrastructure(of_module("httpx", "UnsupportedProtocol"))


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ENOSPC"])
def test_the_machines_own_limits(number: str) -> None:
    """A machine that has no more to give says nothing of the agent; one that may not, or finds nothing, does."""
    assert is_infrastructure(OSError(getattr(errno, number), "no more"))
    assert is_infrastructure(RuntimeError("can't start new thread"))
    assert not is_infrastructure(OSError(errno.EACCES, "not allowed"))
    assert not is_infrastructure(RuntimeError("another"))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (fields(Exception(), body={"error": {"message": "Provider returned error", "code": 502}}), 502),
        (fields(Exception(), body={"message": "slow down", "code": "429"}), 429),
        (fields(Exception(), status_code=200, body={"type": "error", "error": {"type": "overloaded_error"}}), 529),
        (fields(Exception(), response={"Error": {"Code": "ThrottlingException"}}), 429),
        (
            fields(
                Exception(),
                response={"Error": {"Code": "ValidationException"}, "ResponseMetadata": {"HTTPStatusCode": 400}},
            ),
            400,
        ),
        (fields(Exception(), body="<html>"), None),
        (fields(Exception(), code=503), None),
        (fields(Exception(), status="503"), None),
    ],
)
def test_a_status_in_the_body(error: Exception, status: int | None) -> None:
    """Providers say it there with status 200, in streams, and AWS with status 400; a `code` may be anything."""
    assert http_status(error) == status
    assert is_infrastructure(error) == (status is not None and status != 400)


class Frame(NamedTuple):
    code: int


@pytest.mark.parametrize(("code", "infrastructure"), [(None, True), (1011, True), (1012, True), (1008, False)])
def test_a_websocket_that_closes(code: int | None, infrastructure: bool) -> None:
    """Without a word, or because the server gives up; not if it says that what came was wrong."""
    error = of_module("websockets.exceptions", "ConnectionClosedError")
    fields(error, rcvd=None if code is None else Frame(code))
    assert is_infrastructure(error) == infrastructure


def in_ms(seconds: float) -> str:
    return str(int((time.time() + seconds) * 1000))


def date(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def answer(**headers: Any) -> Exception:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return cast(Exception, fields(with_status(429), response=SimpleNamespace(headers=told)))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (answer(retry_after="3"), 3),
        (answer(retry_after=7), 7),
        (answer(retry_after="0"), LEAST_PAUSE_S),
        (answer(retry_after="0.5"), LEAST_PAUSE_S),
        (answer(retry_after="-4"), LEAST_PAUSE_S),
        (answer(retry_after=date(-60)), LEAST_PAUSE_S),
        (answer(retry_after=date(100_000)), 100_000),
        (answer(retry_after="soon"), None),
        (answer(retry_after="nan"), None),
        (answer(retry_after="inf"), None),
        (answer(retry_after="99999999999999999999"), 1e17),
        (answer(retry_after=""), None),
        (answer(retry_after_ms="2500", retry_after="3"), 2.5),
        (answer(x_ratelimit_reset_requests="6m0s", x_ratelimit_reset_tokens="1500ms"), 360),
        (answer(x_ratelimit_reset=in_ms(100_000)), 100_000),
        (answer(x_ratelimit_reset=in_ms(-41)), LEAST_PAUSE_S),
        (answer(x_ratelimit_reset=str(time.time() + 100_000)), 100_000),
        (
            answer(x_ratelimit_reset=datetime.datetime.fromtimestamp(time.time() + 100_000, datetime.UTC).isoformat()),
            100_000,
        ),
        (fields(with_status(503), response=SimpleNamespace(headers={"x-ratelimit-reset": "9"})), None),
        (fields(with_status(429), headers={"Retry-After": "4"}), 4),
        (fields(Exception(), response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "4"}}}), 4),
        (
            fields(with_status(429), body={"metadata": {"headers": {"X-RateLimit-Reset": in_ms(100_000)}}}),
            100_000,
        ),
        (
            fields(
                of_module("google.genai.errors", "APIError"),
                code=429,
                details={"error": {"details": [{"@type": "x", "retryDelay": "34.5s"}]}},
            ),
            34.5,
        ),
        (ExceptionGroup("both", [answer(retry_after="2"), answer(retry_after="5")]), 5),
        (fields(Exception("insufficient_quota"), status_code=429), NEVER_S),
        (Retryable(after_s=0.1), 0.1),
        (Retryable(), None),
    ],
    ids=str,
)
def test_retry_after(error: Exception, seconds: float | None) -> None:
    """In seconds, a second at least; nonsense is no word at all. Who has used up its quota need not come back."""
    told = retry_after_s(error)
    assert told == (None if seconds is None else pytest.approx(seconds, rel=0.01, abs=0.001))


def test_the_message_says_what_it_came_from() -> None:
    """`Connection error.` alone helps nobody. What is said already is not said again."""
    error = RuntimeError("Connection error.")
    error.__cause__ = OSError(errno.ECONNREFUSED, "Connection refused")
    assert describe(error).message == "Connection error. (from ConnectionRefusedError: [Errno 111] Connection refused)"
    error = RuntimeError("it was a KeyError: 'a'")
    error.__cause__ = KeyError("a")
    assert describe(error).message == "it was a KeyError: 'a'"
    assert describe(ExceptionGroup("one", [TimeoutError()])).message == "one (1 sub-exception) (from TimeoutError)"
