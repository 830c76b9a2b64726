"""The worker function that the start probe runs in a real worker. It lives in a module that loads nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

ADOPTION_S = 2.0
WAIT_S = 30.0
"""Nothing that a probe starts outlives this, whatever fails."""


def act(task: Any, ctx: Any) -> Any:
    """Leaves an orphan and returns who adopted it; or says that it waits, and does."""
    if task.workflow == "orphan":
        return adopter()
    Path(ctx.settings["waits"]).touch()
    time.sleep(WAIT_S)
    return None


def adopter() -> int:
    """The process id of who becomes the parent of a process whose own parent ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if os.fork() == 0:
            end = time.monotonic() + ADOPTION_S
            while os.getppid() == parent and time.monotonic() < end:
                time.sleep(0.001)
            os.write(writer, b"%d" % os.getppid())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        return int(file.read())
