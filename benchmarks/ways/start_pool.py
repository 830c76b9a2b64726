"""json.load in the master, ProcessPoolExecutor with the fork server, a slice per call.

The fork server preloads what it does by default. A worker does not return before the harness releases it, so
25 calls for 25 workers are one each.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.probe import run_slice
from benchmarks.slices import cut, load_whole, read_ids


def main(library: Path, ids: Path) -> None:
    tasks = load_whole(library)
    shards = read_ids(ids)
    with ProcessPoolExecutor(len(shards), mp_context=get_context("forkserver")) as pool:
        for future in [pool.submit(run_slice, cut(tasks, shard)) for shard in shards]:
            future.result()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
