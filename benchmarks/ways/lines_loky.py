"""Throughput of loky's reusable executor: `map` with a chunk size, outcomes written as they come."""

from __future__ import annotations

import sys
from pathlib import Path

from loky import get_reusable_executor  # type: ignore[import-untyped]

from benchmarks.noop import call
from benchmarks.outcomes import OutcomeFile, load_tasks


def main(library: Path, out: Path, workers: int, chunk: int) -> None:
    tasks = load_tasks(library)
    outcomes = OutcomeFile(out)
    pool = get_reusable_executor(max_workers=workers)
    for id in pool.map(call, tasks, chunksize=chunk):
        outcomes.append(id)
    pool.shutdown(wait=True)
    outcomes.report()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
