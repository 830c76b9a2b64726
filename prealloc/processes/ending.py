"""Waits for the end of a process that this one has started."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess


def await_end(process: subprocess.Popen[bytes], most_s: float) -> int:
    """Its exit code, as soon as it has ended. Raises TimeoutExpired.

    Popen's own wait with a time looks every 50 ms: where a process waits for one that waits for others, that adds up.
    """
    if process.poll() is None:
        with contextlib.suppress(OSError, AttributeError):  # the system has no such thing, or no descriptor is left
            end = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(end, select.POLLIN)
                if poll.poll(most_s * 1000):
                    return process.wait()
            finally:
                os.close(end)
            most_s = 0.0
    return process.wait(most_s)
