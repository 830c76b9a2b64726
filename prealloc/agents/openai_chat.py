"""An agent on any OpenAI-compatible endpoint: it is given the task and its tools, calls them, and gets made-up results.

Needs `pip install 'prealloc[openai]'`. Settings (`prealloc plan --set NAME=VALUE`, or a config's cells and lanes):

    model                the model's name at the endpoint                                  required
    deployment           what is asked for in the model's place, if the endpoint wants that
    base_url             the endpoint                                                      the client's default
    api_key_env          environment variable that holds the key, never the key itself     OPENAI_API_KEY
    tool_success_rate    chance in [0, 1] that one call of a tool works                     0.9
    max_turns            requests in one conversation at most                              12
    max_tokens           of each answer                                                    1024
    temperature          left to the endpoint unless given
    request_timeout_s    what one request may take, dripping servers included              120

Every request waits for its turn on the shard's lane. A 429 is waited out where it happens: the conversation goes on,
no retry is used, and the wait is waiting time. Other infrastructure errors end the attempt, which is tried again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from prealloc.agents.simulate import tools_of
from prealloc.errors import Retryable
from prealloc.model.task import LightweightTask

try:
    import openai
except ImportError:
    raise ImportError("the openai client is not installed: pip install 'prealloc[openai]'") from None

SYSTEM = (
    "You are an agent that completes a task by calling tools, one after another, in the order that the task needs. "
    "When a tool fails, call it again. When all is done, answer with one sentence and no tool call."
)
BYTES_PER_TOKEN = 4
"""Of English and JSON, about: only for the estimate that the lane is told before a request."""


class _Turn(Protocol):
    def used(self, tokens: int) -> None: ...


class _Context(Protocol):
    """What this agent needs of the context: agents know nothing of the worker room."""

    settings: dict[str, Any]
    seed: int

    @property
    def remaining_s(self) -> float | None: ...
    def waiting(self) -> AbstractContextManager[None]: ...
    def throttle(self, tokens: int = 0) -> AbstractAsyncContextManager[_Turn]: ...
    def retry_after_s(self, error: BaseException) -> float | None: ...


async def run(task: LightweightTask, ctx: _Context) -> dict[str, Any]:
    """Holds one conversation over the workflow's tools.

    Returns `success` (every expected tool worked, in the expected order), `score` (share of the expected sequence
    that worked in order), the calls, the turns, how often the endpoint said 429, and the tokens used. Raises what the
    client raises; Retryable if the key's variable is not set.
    """
    settings = ctx.settings
    expected = tools_of(task.workflow)
    tools = _Tools(expected, float(settings.get("tool_success_rate", 0.9)), random.Random(ctx.seed))
    talk = _Talk(settings, task, tools.schemas())
    async with _client(settings) as client:
        for _ in range(int(settings.get("max_turns", 12))):
            message = await _ask(client, talk, ctx)
            if not message.tool_calls:
                break
            talk.add(message, [tools.call(each.function.name) for each in message.tool_calls])
    done = tools.in_order()
    return {
        "success": done == len(expected),
        "score": round(done / len(expected), 4) if expected else 1.0,
        "calls": len(tools.calls),
        "turns": talk.turns,
        "rate_limited": talk.rate_limited,
        "tokens": {"prompt": talk.prompt_tokens, "completion": talk.completion_tokens},
    }


async def _ask(client: openai.AsyncOpenAI, talk: _Talk, ctx: _Context) -> Any:
    """One request, sent again as often as the endpoint says 429: that is its way to say when."""
    while True:
        try:
            async with ctx.throttle(tokens=talk.estimate()) as turn:
                # The client's own timeout is for each read: a server that drips would never meet it.
                async with asyncio.timeout(_least(talk.request_timeout_s, ctx.remaining_s)):
                    answer = await client.chat.completions.create(**talk.request())
                if answer.usage is not None:
                    turn.used(answer.usage.total_tokens)
        except openai.RateLimitError as error:
            talk.rate_limited += 1
            after_s = ctx.retry_after_s(error)
            with ctx.waiting():
                await asyncio.sleep(1.0 if after_s is None else after_s)
            continue
        talk.answered(answer.usage)
        return answer.choices[0].message


def _client(settings: dict[str, Any]) -> openai.AsyncOpenAI:
    variable = str(settings.get("api_key_env", "OPENAI_API_KEY"))
    key = os.environ.get(variable)
    if not key:
        raise Retryable(f"the environment variable {variable} is not set", mend=f"export {variable}=..., then resume")
    # Retries are prealloc's: the client's own would hide them, and would not wait for the lane.
    return openai.AsyncOpenAI(api_key=key, base_url=settings.get("base_url"), max_retries=0)


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


class _Talk:
    """The conversation so far, and what it has cost."""

    def __init__(self, settings: dict[str, Any], task: LightweightTask, schemas: list[dict[str, Any]]) -> None:
        self.request_timeout_s = float(settings.get("request_timeout_s", 120.0))
        self.turns = 0
        self.rate_limited = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._fixed = {
            "model": settings.get("deployment") or settings["model"],
            "max_tokens": int(settings.get("max_tokens", 1024)),
            **({"tools": schemas} if schemas else {}),
            **({"temperature": float(settings["temperature"])} if "temperature" in settings else {}),
        }
        self._messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": _told(task)},
        ]

    def request(self) -> dict[str, Any]:
        """The arguments of the next request."""
        return {**self._fixed, "messages": self._messages}

    def estimate(self) -> int:
        """About how many tokens the next request takes, with its answer."""
        return len(json.dumps(self.request())) // BYTES_PER_TOKEN + int(self._fixed["max_tokens"])

    def answered(self, usage: Any) -> None:
        """A request was answered."""
        self.turns += 1
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens

    def add(self, message: Any, results: Sequence[str]) -> None:
        """An answer that calls tools, and what came of each call."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": "{}"}}
            for call in message.tool_calls
        ]
        self._messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        self._messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(calls, results, strict=True)
        ]


class _Tools:
    """The tools of one workflow. Chance is drawn from the unit's seed, call by call."""

    def __init__(self, expected: Sequence[str], success_rate: float, draw: random.Random) -> None:
        self._expected = expected
        self._rate = success_rate
        self._draw = draw
        self.calls: list[tuple[str, bool]] = []

    def schemas(self) -> list[dict[str, Any]]:
        """What the model is told of the tools: each once, in the order of their names, which tells nothing."""
        parameters = {"type": "object", "properties": {}, "additionalProperties": True}
        return [
            {
                "type": "function",
                "function": {"name": name, "description": f"The tool {name}.", "parameters": parameters},
            }
            for name in sorted(set(self._expected))
        ]

    def call(self, name: str) -> str:
        """One call: the text that the model gets."""
        known = name in self._expected
        worked = known and self._draw.random() < self._rate
        self.calls.append((name, worked))
        if not known:
            return json.dumps({"status": "error", "message": f"there is no tool {name}"})
        return json.dumps({"status": "ok"} if worked else {"status": "error", "message": "temporarily unavailable"})

    def in_order(self) -> int:
        """How many of the expected tools have worked, one after the other, as far as the sequence was followed."""
        done = 0
        for name, worked in self.calls:
            if worked and done < len(self._expected) and name == self._expected[done]:
                done += 1
        return done


def _told(task: LightweightTask) -> str:
    """The task in words: its description if that was kept (`--keep description`), else what the workflow says."""
    description = task.extra.get("description")
    text = description if isinstance(description, str) else f"Complete the {task.type} {task.id}."
    sequence = " -> ".join(tools_of(task.workflow))
    return f"{text}\n\nThe tools to call, in this order: {sequence}" if sequence else text
