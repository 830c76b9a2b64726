"""The ready agent on a real HTTP server that speaks the chat API, limits its rate, says 429, and drips."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import Any

import pytest
from chat_server import KEY, Odd, chat_server
from harness import Stage
from zygote import zygote

from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task, run_task

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True, scope="module")
def clients() -> None:
    """The agents of this module import them."""
    zygote().load("openai")


WORKER = "prealloc.agents.openai_chat:run"
TOOLS = ["search", "fetch", "parse", "store"]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is in the environment, where the settings say."""
    monkeypatch.setenv("PREALLOC_TEST_KEY", KEY)


def plan_chat(
    stage: Stage,
    url: str,
    *,
    tasks: int | Iterable[str],
    lanes: tuple[Lane, ...] = (),
    shards: int = 1,
    **settings: Any,
) -> None:
    """Tasks of four tools each, for the server at this address."""
    settings = {"model": "m", "base_url": url, "api_key_env": "PREALLOC_TEST_KEY", **settings}
    ids = [f"t{n}" for n in range(tasks)] if isinstance(tasks, int) else tasks
    made = [make_task(id, workflow={"optimal_sequence": TOOLS}) for id in ids]
    write_plan(make_plan(made, shards=shards, lanes=lanes, settings=settings), stage.plan)


def results(stage: Stage) -> dict[str, dict[str, Any]]:
    lines = [line for path in (stage.run / "journal").glob("shard-*") for line in stage.lines(path)]
    return {line["task"]: line["result"] for line in lines if line.get("result")}


def test_conversations_over_tools(stage: Stage) -> None:
    """Multi-turn, a request a tool and one to end; tokens are counted; a tool that fails is called again."""
    with chat_server() as server:
        plan_chat(stage, server.url, tasks=12, tool_success_rate=0.7, max_turns=40)
        session = stage.start("-c", "6", worker=WORKER)
        assert session.wait() == 0, session.output()
        for result in results(stage).values():
            assert result["success"] is True
            assert result["score"] == 1.0
            assert result["calls"] >= len(TOOLS)
            assert result["turns"] == result["calls"] + 1
            assert result["tokens"] == {"prompt": 100 * result["turns"], "completion": 10 * result["turns"]}
        assert any(result["calls"] > len(TOOLS) for result in results(stage).values())
    stage.check(session)


def test_turns_end_a_conversation(stage: Stage) -> None:
    """An agent that has not come through within max_turns was not successful; its score says how far it came."""
    with chat_server() as server:
        plan_chat(stage, server.url, tasks=2, tool_success_rate=1.0, max_turns=2)
        session = stage.start(worker=WORKER)
        assert session.wait() == 0
        assert all((r["success"], r["score"], r["turns"]) == (False, 0.5, 2) for r in results(stage).values())


def test_a_429_is_waited_out_in_the_request(stage: Stage) -> None:
    """It neither restarts the conversation nor uses a retry, and the wait is waiting time."""
    with chat_server() as server:
        server.refuse_first = 5
        plan_chat(stage, server.url, tasks=4)
        session = stage.start("-c", "4", "--retries", "0", "--timeout", "20", worker=WORKER)
        assert session.wait() == 0, session.output()
        assert sum(result["rate_limited"] for result in results(stage).values()) == 5
        assert sum(server.conversations.values()) == 4
        assert len(session.of("attempt_ended")) == 4
        limited = [e for e in session.of("attempt_ended") if results(stage)[e["task"]]["rate_limited"]]
        assert all(event["waiting_s"] >= 1 for event in limited)
    stage.check(session)


def choice(**fields: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None}} | fields]
    }


NO_ANSWERS = {
    # what comes with status 200: the outcome, its status, what its message says
    "page": (b"<html>Sign in to the proxy</html>", "infra", None, "Sign in to the proxy"),
    "empty": (b"", "infra", None, "nothing"),
    "cut": (b'{"choices": [{"ind', "infra", None, '{"choices": [{"ind'),
    "list": ([], "infra", None, "without a completion"),
    "no-choices": ({"choices": []}, "infra", None, "without a completion"),
    "no-message": ({"choices": [{"index": 0}]}, "infra", None, "without a completion"),
    "no-name": (choice(message={"tool_calls": [{"id": "c", "function": None}]}), "infra", None, "without a completion"),
    "word": ({"error": "it is gone"}, "infra", None, "it is gone"),
    "code-502": (
        {"error": {"code": 502, "message": "Provider returned error"}},
        "infra",
        502,
        "Provider returned error",
    ),
    "choice-502": (choice(error={"code": 502, "message": "it broke off"}), "infra", 502, "it broke off"),
    "code-400": ({"error": {"code": 400, "message": "context too long"}}, "failed", 400, "context too long"),
}


def test_a_200_that_is_no_answer(stage: Stage) -> None:
    """It is judged by what it says, in the endpoint's own words; what says nothing is the infrastructure's."""
    with chat_server() as server:
        server.odd = {task: [Odd(200, body)] for task, (body, *_) in NO_ANSWERS.items()}
        plan_chat(stage, server.url, tasks=NO_ANSWERS)
        session = stage.start("-c", "6", "--retries", "0", worker=WORKER)
        assert session.wait() == 1
        for task, (_, status, http_status, said) in NO_ANSWERS.items():
            (ended,) = session.of("attempt_ended", task=task)
            assert (ended["status"], ended["error"]["http_status"]) == (status, http_status), ended
            assert said in ended["error"]["message"]
    stage.check(session)


def test_odd_answers_are_answers(stage: Stage) -> None:
    """A refusal, an answer that max_tokens cuts off, usage that is missing or partial: counted as far as it goes."""
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": ""}}
    odd = {
        "refusal": choice(message={"content": None, "refusal": "I will not."}) | {"usage": {"prompt_tokens": 7}},
        "cut-off": choice(finish_reason="length", message={"content": None, "tool_calls": [call]}),
        "usage": choice(finish_reason="stop") | {"usage": {"prompt_tokens": "many", "completion_tokens": 3.0}},
    }
    with chat_server() as server:
        server.odd = {task: [Odd(200, body)] for task, body in odd.items()}
        lanes = (Lane(name="k", tokens_per_minute=1_000_000),)
        plan_chat(stage, server.url, tasks=odd, lanes=lanes)
        session = stage.start("-c", "3", worker=WORKER)
        assert session.wait() == 0, session.output()
        found = results(stage)
        assert {task: (result["turns"], result["success"]) for task, result in found.items()} == dict.fromkeys(
            odd, (1, False)
        )
        assert found["refusal"]["refusal"] == "I will not."
        assert found["refusal"]["tokens"] == {"prompt": 7, "completion": 0}
        assert (found["cut-off"]["finish_reason"], found["cut-off"]["calls"]) == ("length", 0)
        assert found["usage"]["tokens"] == {"prompt": 0, "completion": 3}
    stage.check(session)


def test_what_a_429_asks_for(stage: Stage) -> None:
    """Whatever it says, a second passes, and more each time; what is longer than --max-wait is not waited for.

    A time that is past, none, one in milliseconds. A 429 that comes with status 200 ends the attempt, not the unit. Who
    has used up its quota is asked no more, and a wait that is too long is told.
    """
    slow = {"error": {"message": "slow down", "code": 429}}
    quota = {"error": {"message": "check your plan", "type": "insufficient_quota", "code": "insufficient_quota"}}
    with chat_server() as server:
        server.odd = {
            "zero": [Odd(429, slow, {"Retry-After": "0"})] * 2,
            "negative": [Odd(429, slow, {"Retry-After": "-5"})],
            "past": [Odd(429, slow, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
            "silent": [Odd(429, slow)],
            "milliseconds": [Odd(429, slow, {"x-ratelimit-reset": str(int(time.time() * 1000))})],
            "status-200": [Odd(200, slow)],
            "long": [Odd(429, slow, {"Retry-After": "7200"})],
            "quota": [Odd(429, quota)],
        }
        plan_chat(stage, server.url, tasks=list(server.odd), tool_success_rate=1.0)
        session = stage.start("-c", "8", worker=WORKER)
        assert session.wait() == 1
        assert session.census == {"ok": 6, "infra": 2}
        for task in ("long", "quota"):
            assert len(server.asked[task]) == 1
            (ended,) = session.of("attempt_ended", task=task)
            assert "would pass the max_wait of 3600 s" in ended["error"]["message"]
        for task, result in results(stage).items():
            first, second, *_ = server.asked[task]
            assert second - first >= 1, task
            assert result["rate_limited"] == {"zero": 2, "status-200": 0}.get(task, 1)
        assert [each["status"] for each in session.of("attempt_ended", task="status-200")] == ["infra", "ok"]
        _, second, third, *_ = server.asked["zero"]
        assert third - second >= 2
    stage.check(session)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", None),
        ("model", 3),
        ("max_turns", "ten"),
        ("max_turns", 0),
        ("max_tokens", 1.5),
        ("temperature", "hot"),
        ("tool_success_rate", 2),
        ("request_timeout_s", 0),
        ("base_url", "127.0.0.1"),
        ("api_key_env", ""),
    ],
)
def test_settings_are_checked_before_the_first_request(setting: str, value: Any) -> None:
    """The sentence names the setting. No server is asked: there is none."""
    settings = {"model": "m", "base_url": "http://127.0.0.1:9", "api_key_env": "PREALLOC_TEST_KEY", setting: value}
    attempt = run_task(WORKER, settings=settings)
    assert attempt.status == "failed"
    assert attempt.error is not None
    assert attempt.error.type == "prealloc.errors.OptionsError"
    assert f"setting {setting}" in attempt.error.message


def test_a_lane_keeps_the_endpoint_from_saying_429(stage: Stage) -> None:
    """With the endpoint's limit as the lane's, 4 shards with 4 conversations each are hardly ever turned away.

    Hardly: the server counts when it comes to a request, and this machine may be busy for longer than the guard.
    """
    with chat_server(per_second=40) as server:
        lanes = (Lane(name="k", shards_at_once=4, queries_per_second=40, tokens_per_minute=10_000_000),)
        plan_chat(stage, server.url, tasks=32, lanes=lanes, shards=4, tool_success_rate=1.0)
        session = stage.start("-c", "4", worker=WORKER)
        assert session.wait() == 0, session.output()
        assert server.answered["200"] == 32 * (len(TOOLS) + 1)
        assert server.answered["429"] <= 0.05 * server.answered["200"]
    stage.check(session)


def test_a_dripping_endpoint(stage: Stage) -> None:
    """request_timeout_s is a deadline for the whole request; the attempt is infrastructure, and tried again."""
    with chat_server() as server:
        plan_chat(stage, server.url, tasks=2, model="dripping", request_timeout_s=0.5)
        session = stage.start("-c", "2", "--retries", "1", "--timeout", "30", worker=WORKER)
        assert session.wait() == 1
        assert session.census == {"infra": 2}
        assert all(0.5 <= event["working_s"] < 5 for event in session.of("attempt_ended"))
        assert len(session.of("attempt_ended")) == 4
    stage.check(session)


def test_a_bad_key_and_no_key(stage: Stage) -> None:
    """A refused key is told as the endpoint tells it; a missing one names the variable; the key itself is nowhere."""
    with chat_server() as server:
        plan_chat(stage, server.url, tasks=1)
        os.environ["PREALLOC_TEST_KEY"] = "wrong-key-0123"
        session = stage.start(worker=WORKER)
        assert session.wait() == 1
        (ended,) = session.of("attempt_ended")
        assert ended["error"]["http_status"] == 401
        os.environ["PREALLOC_TEST_KEY"] = ""
        second = stage.start("--retries", "0", worker=WORKER, out=stage.root / "second")
        assert second.wait() == 1
        assert "PREALLOC_TEST_KEY is not set" in json.dumps(second.of("attempt_ended"))
        for path in stage.root.rglob("*"):
            if path.is_file():
                assert b"wrong-key-0123" not in path.read_bytes()


def test_without_the_extra(stage: Stage) -> None:
    """Exit code 2 with the pip line, before anything starts."""
    (stage.root / "openai.py").write_text("raise ImportError\n")
    os.environ["PYTHONPATH"] = str(stage.root)
    try:
        stage.make_plan(1)
        session = stage.start(worker=WORKER)
        assert session.wait() == 2
    finally:
        del os.environ["PYTHONPATH"]
    assert "pip install 'prealloc[openai]'" in session.output()
    assert not stage.run.exists()
