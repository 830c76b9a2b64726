"""A worker function that uses tokens and then does what its task says."""

from __future__ import annotations

import os
import time
from typing import Any

from prealloc import Retryable
from prealloc.model.task import LightweightTask
from prealloc.worker.context import TaskContext


def spend(task: LightweightTask, ctx: TaskContext) -> Any:
    """Two requests of 10 + 5 tokens, one of them after the attempt was told to end, if it is."""
    do = task.workflow["do"]
    ctx.usage({"input": 10, "output": 5})
    if do == "retry" and ctx.attempt == 1:
        raise Retryable("not now")
    if do == "fail":
        raise ValueError("no")
    try:
        if do == "hang":
            while True:
                time.sleep(0.01)
        if do == "kill" and ctx.attempt == 1:
            os.kill(os.getpid(), 9)
        if do == "die":
            os.kill(os.getpid(), 9)
    finally:
        if do == "hang":
            ctx.usage({"input": 10, "output": 5})
    return {"success": True}
