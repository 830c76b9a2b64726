"""Runs a small experiment and saves a picture of its live table: docs/live.svg is made by this.

    python tests/live_picture.py docs/live.svg

Some tasks fail, some hang until their timeout, some lose their connection and are tried again, and one key is refused.
"""

import contextlib
import os
import random
import sys
import tempfile
import time
import urllib.error
from email.message import Message
from pathlib import Path

import prealloc
from prealloc.model.events import AttemptEnded, Event
from prealloc.report.page import svg_of
from prealloc.report.progress import RunProgress
from prealloc.report.table import render_table
from prealloc.sample_library.write import write_sample

TASKS_ENDED = 75
"""When the picture is taken: of 96 that can end, since the key of the other 48 is refused."""


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, bool]:
    """An agent with every kind of trouble; which it has is drawn from the unit's seed."""
    draw = random.Random(ctx.seed)
    trouble = draw.random()
    with ctx.throttle():
        if ctx.settings["api_key_env"] == "GATEWAY_KEY":
            raise urllib.error.HTTPError("https://models.example", 401, "Unauthorized", Message(), None)
        if trouble < 0.1 and ctx.attempt == 1:
            raise ConnectionResetError("reset by the server")
    if 0.1 <= trouble < 0.2:
        time.sleep(60)
    if 0.2 <= trouble < 0.25:
        raise ValueError("no tool named 'browse'")
    time.sleep(draw.uniform(0.2, 0.6))
    return {"success": draw.random() < (0.8 if ctx.settings["model"] == "large" else 0.6)}


def main(out: Path) -> None:
    """Takes the picture while the last tasks run."""
    from live_picture import solve as worker  # workers import it by its module's name, which is not __main__

    progress = RunProgress()
    ended = 0

    def observe(event: Event) -> None:
        nonlocal ended
        progress.apply(event, time.monotonic())
        ended += isinstance(event, AttemptEnded) and event.outcome
        if ended == TASKS_ENDED and isinstance(event, AttemptEnded) and event.outcome:
            out.write_text(svg_of(render_table(progress, time.monotonic()), 130, "prealloc run", "prealloc"))

    os.environ |= {"AZURE_KEY_1": "any", "AZURE_KEY_2": "any", "GATEWAY_KEY": "any"}
    lanes = [
        prealloc.Lane.checked(name="azure-1", models=["small", "large"], key_env="AZURE_KEY_1", shards_at_once=4),
        prealloc.Lane.checked(name="azure-2", models=["small", "large"], key_env="AZURE_KEY_2", shards_at_once=4),
        prealloc.Lane.checked(name="gateway", models=["huge"], key_env="GATEWAY_KEY", shards_at_once=2),
    ]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        library = Path("tasks.json")
        write_sample(library, tasks=126, workflow_bytes=4000)
        plan = prealloc.plan(
            library,
            factors={"model": ["small", "large", "huge"], "prompt": ["baseline", "cot"]},
            num_instances_per_cell=24,
            lanes=lanes,
            stratify=True,
            seed=7,
        )
        prealloc.run(plan, worker, "run", observe=observe, timeout_s=1.5, grace_s=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
