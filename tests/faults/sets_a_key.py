"""A worker whose module puts a key into the environment when it is imported, as those do that read a file of keys."""

from __future__ import annotations

import os
from typing import Any

from prealloc import LightweightTask, TaskContext

os.environ["KEY_OF_THE_MODULE"] = "x"


def solve(task: LightweightTask, ctx: TaskContext) -> Any:
    """Finds its key."""
    return {"success": bool(os.environ[ctx.settings["api_key_env"]])}
