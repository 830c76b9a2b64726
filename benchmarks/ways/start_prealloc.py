"""prealloc in one process: the plan stays in memory, its slices go straight to the workers."""

from __future__ import annotations

import sys
from pathlib import Path

import prealloc


def main(library: Path, out: Path, shards: int, tasks: int) -> int:
    plan = prealloc.plan(library, shards=shards, num_instances=tasks, stratify=True)
    return prealloc.run(plan, "benchmarks.probe:run", out).exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
