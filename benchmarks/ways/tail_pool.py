"""Tail: tasks of uneven times in one queue that all processes take from, `multiprocessing.Pool` with chunks of one."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from pathlib import Path


def work(seconds: float) -> tuple[float, float]:
    """When it began and ended: the clock is the same in all processes."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def main(times: Path, workers: int) -> None:
    with multiprocessing.Pool(workers) as pool:
        spans = list(pool.imap_unordered(work, json.loads(times.read_bytes()), chunksize=1))
    print(json.dumps({"seconds": max(end for _, end in spans) - min(began for began, _ in spans)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
