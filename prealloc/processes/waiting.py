"""Waits for descriptors, and for the end of a process that this one has started."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterable


def await_readable(descriptors: Iterable[int], most_s: float) -> list[int]:
    """Those that are readable, or have been hung up, as soon as one is; none after this many seconds."""
    poll = select.poll()  # not select(): there may be more than 1,024 descriptors
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(most_s * 1000)]


def await_end(process: subprocess.Popen[bytes], most_s: float) -> int:
    """Its exit code, as soon as it has ended. Raises TimeoutExpired.

    Popen's own wait with a time looks every 50 ms: where a process waits for one that waits for others, that adds up.
    """
    if process.poll() is None:
        with contextlib.suppress(OSError, AttributeError):  # the system has no such thing, or no descriptor is left
            end = os.pidfd_open(process.pid)
            try:
                if await_readable([end], most_s):
                    return process.wait()
            finally:
                os.close(end)
            most_s = 0.0
    return process.wait(most_s)
