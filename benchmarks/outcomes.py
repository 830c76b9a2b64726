"""The file to which pools append outcomes as they arrive: what a careful user writes around a pool."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class OutcomeFile:
    """Appends a JSON line per outcome, handed to the system at once, so that a killed master loses none."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._first: float | None = None
        self._last = 0.0

    def append(self, task: str) -> None:
        line = json.dumps({"task": task, "status": "ok", "result": None}) + "\n"
        os.write(self._descriptor, line.encode())
        self._last = time.time()
        if self._first is None:
            self._first = self._last

    def report(self) -> None:
        """Tells the harness, on standard output, how long the outcomes came in."""
        print(json.dumps({"seconds": self._last - (self._first or self._last)}))


def load_tasks(library: Path) -> list[dict[str, Any]]:
    """The whole library, as a pool's master reads it."""
    with library.open("rb") as file:
        tasks: list[dict[str, Any]] = json.load(file)["tasks"]
    return tasks
