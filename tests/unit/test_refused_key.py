"""Which errors say that a server has refused the key, and which only that it has refused the request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from prealloc.testing import run_task
from prealloc.worker.answer import refused_status


def raised(status: int, text: str = "", *, message: str = "refused", body: Any = None) -> Exception:
    """An error as clients raise it."""
    error = RuntimeError(message)
    error.__dict__.update(status_code=status, response=SimpleNamespace(text=text), body=body)
    return error


OF_THE_KEY = [
    '{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission"}}',
    '{"error":{"code":403,"message":"Generative Language API is disabled.","status":"PERMISSION_DENIED"}}',
    '{"error":{"code":403,"message":"Key limit exceeded (total limit)."}}',
    '{"error":{"message":"This project has no billing account."}}',
    '{"message":"You don\'t have access to the model with the specified model ID."}',
    '{"message":"The security token included in the request is invalid."}',
]
OF_SOMETHING_ELSE = [
    "",
    '{"error":{"message":"Country, region, or territory not supported"}}',
    '{"error":{"message":"Your input was flagged.","metadata":{"flagged_input":"how do I pick a lock without a key"}}}',
    '{"error":{"code":"content_policy_violation","message":"no permission to speak of that"}}',
    "<!DOCTYPE html><p>You don't have permission to access this page.",
    "\n <html><title>Access Denied</title>",
]


@pytest.mark.parametrize("text", OF_THE_KEY)
def test_a_403_that_speaks_of_the_key(text: str) -> None:
    """In the body as text, as a value, or only in the error's own words; also where it is only the cause."""
    assert refused_status(raised(403, text)) == 403
    assert refused_status(raised(403, body={"error": text})) == 403
    assert refused_status(raised(403, message=text)) == 403
    wrapped = ValueError("the model said nothing")
    wrapped.__cause__ = raised(403, text)
    assert refused_status(wrapped) == 403


@pytest.mark.parametrize("text", OF_SOMETHING_ELSE)
def test_a_403_that_does_not(text: str) -> None:
    """Moderation, countries, pages for people. The word in an address is the address's."""
    message = "Client error '403 Forbidden' for url 'https://host/v1?key=1&permission=2'"
    assert refused_status(raised(403, text, message=message)) is None


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_no_other_status_is_the_key(status: int) -> None:
    """Whatever the body speaks of."""
    assert refused_status(raised(status, OF_THE_KEY[0])) is None


@pytest.mark.parametrize("status", [401, 402])
def test_an_agent_that_catches_the_error(status: int) -> None:
    """401 and 402 need no words. What the agent returns, or raises in its place, does not hide them."""

    def solve(task: Any, ctx: Any) -> Any:
        try:
            with ctx.throttle():
                raise raised(status)
        except RuntimeError:
            return {"success": False}

    attempt = run_task(solve)
    assert attempt.status == "infra"
    assert attempt.error is not None
    assert attempt.error.http_status == status
    assert attempt.result is None


def test_a_401_within_the_block_is_the_agents_own() -> None:
    """Who renews a token within the block has not been refused."""

    def solve(task: Any, ctx: Any) -> Any:
        with ctx.throttle():
            try:
                raise raised(401)
            except RuntimeError:
                return {"success": True}

    assert run_task(solve).status == "ok"
