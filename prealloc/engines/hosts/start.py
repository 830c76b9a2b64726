"""Starts a host: `prealloc host`, or `python -m prealloc.engines.hosts.start`.

First of all the host's fork server starts, which loads its modules while the host loads its own. Nothing of what a host
is told on its standard input, which holds a key, has been read by then.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence

from prealloc.engines.server_process import start_server


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a host until its end. Returns the exit code."""
    gc.set_threshold(100_000, 20, 20)  # as for all commands
    server = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # what is wrong is told when one is needed
            server = start_server()
    try:
        from prealloc.engines.hosts.join import main as host

        return host(arguments, server)
    finally:
        if server is not None:
            server.control.close()


if __name__ == "__main__":
    # Nothing of a standard input that held a key is left to the workers.
    code = main()
    sys.stdout.flush()
    os._exit(code)
