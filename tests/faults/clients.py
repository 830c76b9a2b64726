"""Worker functions that ask a server with the real clients, and let their errors out as they are."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet when it is imported

import httpx
import litellm
import openai

from prealloc import LightweightTask, TaskContext

MESSAGES: Any = [{"role": "user", "content": "hello"}]


def ask(task: LightweightTask, ctx: TaskContext) -> Any:
    """Asks with the client that the task names; the server knows the task by its path."""
    base = f"{ctx.settings['server']}/{task.workflow['trouble']}/{task.id}"
    try:
        return {"answer": CLIENTS[task.workflow["client"]](base)}
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # the reason why law 6 is one
            Path(ctx.settings["signals"], f"does-not-unpickle.{task.workflow['client']}").touch()
        raise


def _httpx(base: str) -> str:
    answer = httpx.post(f"{base}/chat/completions", json={"messages": MESSAGES}, timeout=0.5)
    answer.raise_for_status()
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def _openai(base: str) -> str | None:
    client = openai.OpenAI(api_key="none", base_url=base, max_retries=0, timeout=0.5)
    return client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content


def _litellm(base: str) -> Any:
    answer: Any = litellm.completion(
        model="openai/m", messages=MESSAGES, api_base=base, api_key="none", max_retries=0, timeout=0.5
    )
    return answer.choices[0].message.content


CLIENTS: dict[str, Callable[[str], Any]] = {"httpx": _httpx, "openai": _openai, "litellm": _litellm}
