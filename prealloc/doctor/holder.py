"""The other process of the lock probe: takes a run's lock, says so, and holds it until it is killed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from prealloc.errors import RunFolderError
from prealloc.files.lock import RunLock

LIFE_S = 30


def main(path: str) -> None:
    """Prints `held`, or what refuses the lock."""
    signal.alarm(LIFE_S)  # whoever started us may be gone by then
    try:
        with RunLock(Path(path)):
            print("held", flush=True)  # noqa: T201  # the other end of the pipe reads it
            sys.stdin.read()
    except (OSError, RunFolderError) as error:
        print(f"refused: {error}".splitlines()[0], flush=True)  # noqa: T201
