"""A program of your own that runs one shard: it needs one file, `plan/shards/<shard>.json`.

python examples/outside_runner.py plan/shards/shard-00.json
"""

import sys

from prealloc import PreallocError, load_shard


def main(manifest: str) -> int:
    """Prints how many tasks of each type the shard holds."""
    try:
        shard = load_shard(manifest)
    except PreallocError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for kind, tasks in shard.by_type().items():
        print(f"{kind}: {len(tasks)} tasks, first {tasks[0]['id']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
