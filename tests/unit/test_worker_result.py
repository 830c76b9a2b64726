"""What leaves a worker: results and errors as JSON text, and which errors are tried again."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealloc.errors import Retryable
from prealloc.model.json_value import MOST_DEPTH, NoJson
from prealloc.worker.infrastructure import is_infrastructure, retry_after_s
from prealloc.worker.result import describe, encode_result

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=30,
)


@given(json_values)
def test_json_goes_through_unchanged(value: Any) -> None:
    """Every JSON value comes out of its text as it went in, types and all."""
    back = json.loads(bytes(encode_result(value, 10**6)))
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {"b": float("nan")}]}, "result.a[1].b"),
        ({"a": float("-inf")}, "result.a"),
        ([b""], "result[0]"),
        ({"x": {"y": object()}}, "result.x.y"),
        ({"x": {1, 2}}, "result.x"),
        ({"x": 1j}, "result.x"),
        ({(1, 2): 3}, "result"),
        ({"k": {"\ud800": 1}}, "result.k"),
        ("\udfff", "result"),
        ([2**64], "result[0]"),
        ([-(2**63) - 1], "result[0]"),
    ],
)
def test_anything_else_names_its_place(value: Any, place: str) -> None:
    """What JSON has no word for is refused, with the path to it."""
    with pytest.raises(NoJson) as caught:
        encode_result(value, 10**6)
    assert str(caught.value).startswith(f"{place}:")


def test_a_cycle_and_a_tower_are_refused_within_the_default_stack() -> None:
    """However deep: NoJson, not RecursionError; and what is just allowed goes through."""
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    with pytest.raises(NoJson, match="cycle"):
        encode_result(cycle, 10**6)
    tower: Any = None
    for _ in range(100_000):
        tower = [tower]
    with pytest.raises(NoJson):
        encode_result(tower, 10**6)
    while tower:  # taken apart level by level: freeing it at once needs a deep stack
        tower = tower[0]
    allowed: Any = 1
    for _ in range(MOST_DEPTH - 1):
        allowed = [allowed]
    assert encode_result(allowed, 10**6)


def test_the_limit_is_in_bytes_of_json() -> None:
    """Two bytes of quotes count."""
    assert encode_result("x" * 98, 100)
    with pytest.raises(NoJson, match="101 bytes"):
        encode_result("x" * 99, 100)


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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("soon", None), ("nan", None), ("inf", None), ("", None), (7, 7.0)],
)
def test_retry_after(header: Any, seconds: float | None) -> None:
    """In seconds; nonsense is no word at all."""

    error = with_status(429)
    error.response = SimpleNamespace(headers={"retry-after": header})  # type: ignore[attr-defined]
    assert retry_after_s(error) == seconds
    assert retry_after_s(Retryable(after_s=2.5)) == 2.5
