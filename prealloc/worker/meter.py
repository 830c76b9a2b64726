"""Counts what one attempt uses: tokens by model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prealloc.model.usage import MOST_TOKENS, Tokens, Usage, added, tokens_of
from prealloc.model.words import shown
from prealloc.worker.interrupt import shielded

MOST_NAME = 200


class Meter:
    """What an attempt has used so far. Thread-safe. `tell` hears of each request, in case the process is killed."""

    def __init__(self, model: str, tell: Callable[[Usage], None] = lambda usage: None) -> None:
        self._model = model
        self._tell = tell
        self._lock = threading.RLock()  # a finalizer may run in here, and count too
        self._used: Usage | None = None

    @shielded
    def add(self, tokens: Tokens, model: str | None = None) -> None:
        """Counts the tokens of a request in; without a model, as those of the shard's."""
        more = {self._model if model is None else model: tokens}
        with self._lock:
            self._used = added((self._used, more))
        self._tell(more)

    def take(self) -> Usage | None:
        """What was counted since the last call: each token is in one line of the journal."""
        with self._lock:
            used, self._used = self._used, None
        return used


def read_usage(call: str, told: Any, model: Any = None) -> Tokens:
    """The tokens of one request that a task has given in a call. Raises ValueError."""
    if model is not None and not (isinstance(model, str) and 0 < len(model) <= MOST_NAME):
        raise ValueError(f"{call}(model={shown(model)}): a model's name is a text of 1 to {MOST_NAME} characters")
    try:
        tokens = tokens_of(told)
    except ValueError as error:
        raise ValueError(f"{call}({shown(told)}): {error}") from None
    if tokens.total > MOST_TOKENS:
        raise ValueError(f"{call}({shown(told)}): that is not a number of tokens")
    return tokens
