"""What the tests of commands share: what a command left, and how one is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Type = Callable[..., Done]
