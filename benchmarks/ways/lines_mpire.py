"""Throughput of mpire's WorkerPool: `imap_unordered`, outcomes written as they come."""

from __future__ import annotations

import sys
from pathlib import Path

from mpire.pool import WorkerPool

from benchmarks.noop import call
from benchmarks.outcomes import OutcomeFile, load_tasks


def main(library: Path, out: Path, workers: int, chunk: int) -> None:
    # In a tuple each: mpire would take a bare dict for keyword arguments.
    tasks = [(task,) for task in load_tasks(library)]
    outcomes = OutcomeFile(out)
    with WorkerPool(n_jobs=workers) as pool:
        for id in pool.imap_unordered(call, tasks, chunk_size=chunk):
            outcomes.append(id)
    outcomes.report()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
