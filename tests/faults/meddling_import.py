"""A module that, at import, does to signals what gevent, asyncio and others do, and holds generators of numbers."""

import os
import random
import signal
import sys
import types
from typing import Any

from agents import kill_self, started

from prealloc import LightweightTask, TaskContext

IMPORTED_BY = os.getpid()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.set_wakeup_fd(-1)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})


class NumpyRandom(types.ModuleType):
    """Stands in for numpy's: a fork hands its global generator on as it is."""

    def __init__(self) -> None:
        super().__init__("numpy.random")
        self.state = 42

    def seed(self) -> None:
        self.state = int.from_bytes(os.urandom(8), "big")


numpy_random = NumpyRandom()
sys.modules["numpy.random"] = numpy_random


def act(task: LightweightTask, ctx: TaskContext) -> Any:
    started(task, ctx)
    if task.workflow["do"] == "kill_self":
        return kill_self(task, ctx, task.workflow)
    return {
        "imported_here": os.getpid() == IMPORTED_BY,
        "numpy": numpy_random.state,
        "random": random.random(),
        "threads": [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")],
    }
