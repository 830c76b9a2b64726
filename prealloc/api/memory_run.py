"""The master of the way "prealloc" in `prealloc memory`: plan() and run() as the product does them, in one process."""

from __future__ import annotations

import json
import sys

from prealloc.api.plans import plan
from prealloc.api.runs import run
from prealloc.memory.child import ENDED, in_folder, read_job


def main() -> None:
    """Plans the job of this process's way and runs it with workers that hold their tasks until they are released."""
    job = read_job()
    made = plan(
        job.library,
        difficulty=job.difficulty,
        shards=job.workers,
        num_instances=job.tasks,
        seed=job.seed,
        strategy=job.strategy,  # type: ignore[arg-type]  # the child cannot know its type
        **job.named,  # type: ignore[arg-type]
    )
    ended = run(made, "prealloc.memory.way_prealloc:hold", in_folder("run"), workers=job.workers, timeout_s=None)
    with open(in_folder(ENDED), "w", encoding="utf-8") as file:
        json.dump({"library_opens": ended.library_opens}, file)
    if ended.exit_code:
        sys.exit(f"the run ended with exit code {ended.exit_code}: {ended.census}")
