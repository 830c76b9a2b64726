"""json.load in the master, loky's reusable executor with a slice per call (loky always starts fresh interpreters)."""

from __future__ import annotations

import sys
from pathlib import Path

from loky import get_reusable_executor  # type: ignore[import-untyped]

from benchmarks.probe import run_slice
from benchmarks.slices import cut, load_whole, read_ids


def main(library: Path, ids: Path) -> None:
    tasks = load_whole(library)
    shards = read_ids(ids)
    pool = get_reusable_executor(max_workers=len(shards))
    for future in [pool.submit(run_slice, cut(tasks, shard)) for shard in shards]:
        future.result()
    pool.shutdown(wait=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
