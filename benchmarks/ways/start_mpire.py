"""json.load in the master, mpire's WorkerPool with a slice per call.

With mpire's default start method (fork): its workers share the master's library until they touch it, and the
proportional share of that is counted as theirs, since they keep it alive.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mpire.pool import WorkerPool

from benchmarks.probe import run_slice
from benchmarks.slices import cut, load_whole, read_ids


def main(library: Path, ids: Path) -> None:
    tasks = load_whole(library)
    shards = read_ids(ids)
    with WorkerPool(n_jobs=len(shards)) as pool:
        # In a tuple each: mpire would take a bare list for the arguments of the call.
        pool.map(run_slice, [(cut(tasks, shard),) for shard in shards], chunk_size=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
