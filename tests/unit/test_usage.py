"""What an attempt has used: read from whatever APIs and agents say of it, and in its line of the journal once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from prealloc.model.usage import Tokens, added, tokens_of, usage_in, usage_of
from prealloc.testing import make_task, run_task
from prealloc.worker.context import TaskContext

OPENAI = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 150},
}
ANTHROPIC = {
    "input_tokens": 400,
    "output_tokens": 200,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": None,
    "service_tier": "standard",
}


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        (1200, Tokens(unsplit=1200, requests=1)),
        (0.5, Tokens(unsplit=1, requests=1)),
        (OPENAI, Tokens(input=400, output=200, cache_read=600, reasoning=150, requests=1)),
        (ANTHROPIC, Tokens(input=400, output=200, cache_read=600, requests=1)),
        (SimpleNamespace(model_dump=lambda: OPENAI), tokens_of(OPENAI)),
        (
            {"input": 1, "output": 2, "cache_write": 3, "requests": 4},
            Tokens(input=1, output=2, cache_write=3, requests=4),
        ),
        ({"prompt": 10, "completion": 5}, Tokens(input=10, output=5, requests=1)),
        ({"total_tokens": 70}, Tokens(unsplit=70, requests=1)),
        ({"prompt_tokens": 50, "total_tokens": 70}, Tokens(input=50, unsplit=20, requests=1)),
    ],
)
def test_what_apis_say(told: Any, tokens: Tokens) -> None:
    """Each token is in one field: what came from the cache is no input, reasoning is output."""
    assert tokens_of(told) == tokens


@pytest.mark.parametrize("told", ["12", None, True, -1, float("nan"), {}, {"input": "12"}, {"model": "o3"}, [1]])
def test_what_is_no_number_of_tokens(told: Any) -> None:
    """It is refused: a guess would be shown as money."""
    with pytest.raises(ValueError, match="token"):
        tokens_of(told)


def test_what_results_of_programs_say() -> None:
    """In `usage`, else in `tokens`; for several models or one. What says nothing is no usage, and no error."""
    assert usage_in({"usage": OPENAI}, "o3") == {"o3": tokens_of(OPENAI)}
    assert usage_in({"tokens": {"prompt": 1, "completion": 2}}, "o3") == {"o3": Tokens(input=1, output=2, requests=1)}
    several = {"a": {"input": 1}, "b": 5}
    assert usage_of(several, "o3") == {"a": Tokens(input=1, requests=1), "b": Tokens(unsplit=5, requests=1)}
    for nothing in (None, 3, {"usage": "much"}, {"usage": {}, "tokens": None}, {"turns": 3}):
        assert usage_in(nothing, "o3") is None


def test_sums_are_by_model() -> None:
    """Nothing counted is None, and not zero."""
    assert added([None, {}]) is None
    assert added([{"a": Tokens(input=1)}, None, {"a": Tokens(input=2, output=3), "b": Tokens(requests=1)}]) == {
        "a": Tokens(input=3, output=3),
        "b": Tokens(requests=1),
    }


def test_an_attempt_has_what_its_requests_used() -> None:
    """By turns and by `ctx.usage`, for the model of the settings or another; also if it fails; an estimate is none."""

    def solve(task: Any, ctx: TaskContext) -> None:
        with ctx.throttle(tokens=99) as turn:
            turn.used(1)
            turn.used({"input": 10, "output": 5})
        with ctx.throttle(tokens=99):
            pass
        ctx.usage(7, model="judge")
        raise RuntimeError

    attempt = run_task(solve, make_task(), settings={"model": "o3"})
    assert attempt.status == "failed"
    assert attempt.usage == {"o3": Tokens(input=10, output=5, requests=1), "judge": Tokens(unsplit=7, requests=1)}
    assert run_task(lambda task, ctx: ctx.usage(3)).usage == {"unknown": Tokens(unsplit=3, requests=1)}
    assert run_task(lambda task, ctx: True).usage is None


@pytest.mark.parametrize("call", [lambda ctx: ctx.usage("12"), lambda ctx: ctx.usage(1, model="")])
def test_a_wrong_value_names_its_call(call: Any) -> None:
    """As everywhere in the context."""
    error = run_task(lambda task, ctx: call(ctx)).error
    assert error is not None
    assert error.type == "ValueError"
    assert error.message.startswith("ctx.usage(")
