"""Runs a small experiment and saves a picture of its live table: docs/live.svg is made by this.

python tests/live_picture.py docs/live.svg
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import prealloc
from prealloc.library.sample.write import write_sample
from prealloc.model.events import AttemptEnded, Event
from prealloc.report.progress import RunProgress
from prealloc.report.table import export_svg


def main(out: Path) -> None:
    """Takes the picture when two thirds of the tasks have ended."""
    progress = RunProgress()
    ended = 0

    def observe(event: Event) -> None:
        nonlocal ended
        progress.apply(event, time.monotonic())
        ended += isinstance(event, AttemptEnded)
        if ended == 85:
            export_svg(progress, out, width=110, now_s=time.monotonic(), title="prealloc run")

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        library = Path("tasks.json")
        write_sample(library, tasks=126, workflow_bytes=4000)
        settings = {"tool_seconds": 0.05, "tool_success_rate": 0.7}
        plan = prealloc.plan(library, shards=10, num_instances=12, stratify=True, seed=7, settings=settings)
        prealloc.run(plan, "prealloc.agents.simulate:run", "run", observe=observe)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
