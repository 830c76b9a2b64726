"""Where trials happen: a folder with a stage for each, removed when it is over; and what went wrong in them."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness import Stage


class Place:
    """Makes stages. What breaks in one is noted, and the others go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self.broken: list[str] = []
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        # Else lanes would be shared with whatever else runs here, and hosts that are killed would leave files there.
        os.environ["XDG_RUNTIME_DIR"] = os.environ["TMPDIR"] = str(runtime)

    @contextmanager
    def stage(self, what: str) -> Iterator[Stage]:
        """A stage. An assertion that fails on it is a promise that is broken."""
        root = self._folder / f"stage{next(self._numbers):04}"
        root.mkdir()
        made = Stage(root, fresh=True)
        try:
            yield made
        except AssertionError as error:
            self.broken.append(f"{what}: {str(error)[:2000]}")
        finally:
            made.clean_up()
            shutil.rmtree(root, ignore_errors=True)


class Measured(NamedTuple):
    """The trials of one gate."""

    values: list[float]

    @property
    def worst(self) -> float | None:
        return max(self.values, default=None)

    @property
    def told(self) -> str:
        """The median beside the worst."""
        return f"median {sorted(self.values)[len(self.values) // 2]:.3f} s" if self.values else ""


def started_at(stage: Stage, task: str) -> float:
    """When a task's latest attempt really started, on the monotonic clock."""
    # File times are on the wall clock, which runs beside the monotonic one while nobody steps it.
    times = [path.stat().st_mtime for path in stage.signals.glob(f"started.{task}.*")]
    return max(times) - time.time() + time.monotonic()


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
