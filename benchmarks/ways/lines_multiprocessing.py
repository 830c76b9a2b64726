"""Throughput of multiprocessing.Pool: `imap_unordered`, outcomes written as they come."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from benchmarks.noop import call
from benchmarks.outcomes import OutcomeFile, load_tasks


def main(library: Path, out: Path, workers: int, chunk: int) -> None:
    tasks = load_tasks(library)
    outcomes = OutcomeFile(out)
    with multiprocessing.Pool(workers) as pool:
        for id in pool.imap_unordered(call, tasks, chunksize=chunk):
            outcomes.append(id)
    outcomes.report()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
