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
no retry is used, and the wait is waiting time. One that asks for more than is left of --max-wait, or says that the
quota is used up, ends the attempt. So do other infrastructure errors, and it is tried again.

An answer with status 200 that is not a completion is judged by the error that it reports. A 429 there ends the attempt:
it comes from a provider behind the endpoint, and a new attempt may meet another. One that reports no error (a page of
HTML, an empty or cut body, no choices) is infrastructure.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, NamedTuple, Protocol

from prealloc.agents.simulate import tools_of
from prealloc.errors import Mistake, OptionsError, Retryable
from prealloc.model.options import Seconds, Whole
from prealloc.model.outcome import TOO_MANY_REQUESTS
from prealloc.model.policy import LEAST_PAUSE_S, NEVER_S
from prealloc.model.retry import BACKOFF_MOST_S
from prealloc.model.task import LightweightTask
from prealloc.model.words import shown

try:
    import openai
except ImportError:
    raise ImportError("the openai client is not installed: pip install 'prealloc[openai]'") from None

SYSTEM = (
    "You are an agent that completes a task by calling tools, one after another, in the order that the task needs. "
    "When a tool fails, call it again. When all is done, answer with one sentence and no tool call."
)
BYTES_PER_TOKEN = 4
"""Of English and JSON, about: only for the estimate that the lane gets before a request."""

CUT_OFF = "length"
"""The finish_reason of an answer that was longer than max_tokens."""

_TEXT_SHOWN = 300


class _Turn(Protocol):
    def used(self, tokens: Any) -> None: ...


class _Context(Protocol):
    """What this agent needs of the context: agents know nothing of the worker room."""

    settings: dict[str, Any]
    seed: int

    @property
    def remaining_s(self) -> float | None: ...
    @property
    def remaining_wait_s(self) -> float | None: ...
    def waiting(self) -> AbstractContextManager[None]: ...
    def throttle(self, tokens: float | None = None) -> AbstractAsyncContextManager[_Turn]: ...
    def retry_after_s(self, error: BaseException) -> float | None: ...
    def http_status(self, error: BaseException) -> int | None: ...


class EndpointError(Exception):
    """The error that an endpoint reports in an answer whose status is 200."""

    def __init__(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(f"the endpoint answered 200 with an error: {json.dumps(body)[:_TEXT_SHOWN]}")
        self.body = body
        self.headers = headers


async def run(task: LightweightTask, ctx: _Context) -> dict[str, Any]:
    """Holds one conversation over the workflow's tools.

    Returns `success` (every expected tool worked, in the expected order), `score` (share of the expected sequence
    that worked in order), the calls, the turns, how often the endpoint said 429, the tokens used as far as the endpoint
    tells them, and of the last answer its finish_reason and the model's refusal, if it refused. Raises what the client
    raises; EndpointError or Retryable for an answer without a completion; Retryable if the key's variable is not set;
    OptionsError for settings that cannot be.
    """
    settings = _Settings.read(ctx.settings)
    expected = tools_of(task.workflow)
    tools = _Tools(expected, settings.tool_success_rate, random.Random(ctx.seed))
    talk = _Talk(settings, task, tools.schemas())
    last: dict[str, Any] = {}
    async with _client(settings) as client:
        for _ in range(settings.max_turns):
            last = await _ask(client, talk, ctx)
            calls = last["message"].get("tool_calls")
            if not calls or last.get("finish_reason") == CUT_OFF:  # then the last call may be cut too
                break
            talk.add(last["message"], [tools.call(each["function"]["name"]) for each in calls])
    done = tools.in_order()
    return {
        "success": done == len(expected),
        "score": round(done / len(expected), 4) if expected else 1.0,
        "calls": len(tools.calls),
        "turns": talk.turns,
        "rate_limited": talk.rate_limited,
        "tokens": {"prompt": talk.prompt_tokens, "completion": talk.completion_tokens},
        "finish_reason": last.get("finish_reason"),
        "refusal": last["message"].get("refusal"),
    }


async def _ask(client: openai.AsyncOpenAI, talk: _Talk, ctx: _Context) -> dict[str, Any]:
    """One request, sent again as often as the endpoint says 429: that is its way to say when. Gives the choice."""
    pause_s = LEAST_PAUSE_S
    while True:
        try:
            async with ctx.throttle(tokens=talk.estimate()) as turn:
                # The client's own timeout is for each read: a server that drips would never meet it.
                left_s = math.inf if ctx.remaining_s is None else ctx.remaining_s
                async with asyncio.timeout(min(talk.request_timeout_s, left_s)):
                    # Raw: if the answer is not a completion, what the client makes of it hides what the endpoint said.
                    answer = await client.chat.completions.with_raw_response.create(**talk.request())
                body = _completion(answer.text, answer.headers, ctx)
                turn.used(_used(body.get("usage")))
        except openai.APIError as error:
            asked_s = ctx.retry_after_s(error) or 0.0
            after_s = asked_s if asked_s > LEAST_PAUSE_S else pause_s
            left_wait_s = NEVER_S if ctx.remaining_wait_s is None else ctx.remaining_wait_s
            if ctx.http_status(error) != TOO_MANY_REQUESTS or after_s >= left_wait_s:
                raise
            talk.rate_limited += 1
            pause_s = min(2 * pause_s, BACKOFF_MOST_S)
            with ctx.waiting():
                await asyncio.sleep(after_s)
            continue
        talk.answered(body.get("usage"))
        choice: dict[str, Any] = body["choices"][0]
        return choice


def _completion(text: str, headers: Mapping[str, str], ctx: _Context) -> dict[str, Any]:
    """The body of an answer with status 200, if it is a completion. Raises EndpointError or Retryable."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if (error := _error_in(body)) is not None:
        if ctx.http_status(found := EndpointError(error, headers)) is not None:
            raise found
        raise Retryable(str(found))
    match body:
        case {"choices": [{"message": {**message}}, *_]}:
            calls = message.get("tool_calls") or []
            if isinstance(calls, list) and all(map(_is_call, calls)):
                return dict(body)
    raise Retryable(f"the endpoint answered 200 without a completion: {text[:_TEXT_SHOWN] or 'nothing'}")


def _error_in(body: Any) -> dict[str, Any] | None:
    """The error that the body reports: it stands in it or, from a provider behind the endpoint, in the choice."""
    match body:
        case {"error": error} if error:
            pass
        case {"choices": [{"error": error}, *_]} if error:
            pass
        case _:
            return None
    return error if isinstance(error, dict) else {"message": error}


def _is_call(call: Any) -> bool:
    match call:
        case {"id": str(), "function": {"name": str()}}:
            return True
    return False


def _used(usage: Any) -> dict[str, int] | None:
    """The tokens of a request and its answer, as far as the endpoint reports them and they are numbers."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    told = {
        **{name: _tokens(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "cached_tokens": _tokens(read, "cached_tokens"),
        "reasoning_tokens": _tokens(written, "reasoning_tokens"),
    }
    return {name: number for name, number in told.items() if number is not None} or None


def _tokens(usage: Any, name: str) -> int | None:
    told = usage.get(name) if isinstance(usage, dict) else None
    return math.ceil(told) if isinstance(told, int | float) and not isinstance(told, bool) and told >= 0 else None


class _Settings(NamedTuple):
    """The settings of this module's docstring."""

    model: str
    base_url: str | None
    api_key_env: str
    tool_success_rate: float
    max_turns: int
    max_tokens: int
    temperature: float | None
    request_timeout_s: float

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> _Settings:
        """Raises OptionsError with every mistake among them."""
        found: list[Mistake] = []
        base_url = settings.get("base_url")
        if base_url is not None and not str(base_url).startswith(("http://", "https://")):
            found.append(Mistake("setting base_url", f"{shown(base_url)} is not an address", "begin it with https://"))
        temperature = settings.get("temperature")
        made = cls(
            model=_text("deployment" if settings.get("deployment") else "model", settings, None, found),
            base_url=base_url,
            api_key_env=_text("api_key_env", settings, "OPENAI_API_KEY", found),
            tool_success_rate=_number("tool_success_rate", settings.get("tool_success_rate", 0.9), 1.0, found),
            max_turns=Whole(1).read("setting max_turns", settings.get("max_turns", 12), found),
            max_tokens=Whole(1).read("setting max_tokens", settings.get("max_tokens", 1024), found),
            temperature=None if temperature is None else _number("temperature", temperature, 1e3, found),
            request_timeout_s=Seconds(above=True).read(
                "setting request_timeout_s", settings.get("request_timeout_s", 120.0), found
            ),
        )
        if found:
            raise OptionsError(found)
        return made


def _text(name: str, settings: Mapping[str, Any], default: str | None, found: list[Mistake]) -> str:
    value = settings.get(name, default)
    if isinstance(value, str) and value:
        return value
    found.append(Mistake(f"setting {name}", f"{shown(value)} is not a name", f"set {name} to a name when you plan"))
    return ""


def _number(name: str, value: Any, most: float, found: list[Mistake]) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    found.append(Mistake(f"setting {name}", f"{shown(value)} is not a number from 0 to {most:g}", "give one"))
    return 0.0


def _client(settings: _Settings) -> openai.AsyncOpenAI:
    variable = settings.api_key_env
    key = os.environ.get(variable)
    if not key:
        raise Retryable(f"the environment variable {variable} is not set", hint=f"export {variable}=..., then resume")
    # Retries are prealloc's: the client's own would hide them, and would not wait for the lane.
    return openai.AsyncOpenAI(api_key=key, base_url=settings.base_url, max_retries=0)


class _Talk:
    """The conversation so far, and what it has cost."""

    def __init__(self, settings: _Settings, task: LightweightTask, schemas: list[dict[str, Any]]) -> None:
        self.request_timeout_s = settings.request_timeout_s
        self.turns = 0
        self.rate_limited = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._fixed: dict[str, Any] = {
            "model": settings.model,
            "max_tokens": settings.max_tokens,
            **({"tools": schemas} if schemas else {}),
            **({"temperature": settings.temperature} if settings.temperature is not None else {}),
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
        self.prompt_tokens += _tokens(usage, "prompt_tokens") or 0
        self.completion_tokens += _tokens(usage, "completion_tokens") or 0

    def add(self, message: dict[str, Any], results: Sequence[str]) -> None:
        """An answer that calls tools, and what came of each call."""
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": "{}"}}
            for call in message["tool_calls"]
        ]
        self._messages.append({"role": "assistant", "content": message.get("content"), "tool_calls": calls})
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
        """The tools as the model sees them: each once, sorted by name, so that the order reveals nothing."""
        parameters = {"type": "object", "properties": {}, "additionalProperties": True}
        tools = (
            {"name": name, "description": f"The tool {name}.", "parameters": parameters}
            for name in sorted(set(self._expected))
        )
        return [{"type": "function", "function": tool} for tool in tools]

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
