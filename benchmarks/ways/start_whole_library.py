"""Every worker loads the library itself: one fresh interpreter per shard, as the usual runner starts them.

master LIBRARY IDS            starts a worker per shard, waits for all
master LIBRARY IDS NUMBER     is such a worker
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.probe import touch
from benchmarks.slices import load_whole, read_ids


def main() -> int:
    library, ids = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) == 3:
        workers = [
            subprocess.Popen([sys.executable, "-m", __spec__.name, str(library), str(ids), str(number)])
            for number in range(len(read_ids(ids)))
        ]
        return max(abs(worker.wait()) for worker in workers)
    tasks = load_whole(library)  # stays in memory while the tasks run, as it does in the usual runner
    for id in read_ids(ids)[int(sys.argv[3])]:
        touch(tasks[id]["workflow"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
