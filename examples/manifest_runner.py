"""A runner of your own behind `prealloc run --command`: started once per shard, with that shard's manifest.

prealloc run plan/ --command 'python examples/manifest_runner.py --manifest {manifest}' --out run/
"""

import argparse
import json
import os
import random

from prealloc import load_shard


def solve(task: dict) -> dict:  # type: ignore[type-arg]
    """What your runner does with one task: a coin stands for the agent here, the same one for the same task."""
    steps = len(task["workflow"]["optimal_sequence"])
    return {"success": random.Random(task["id"]).random() < 0.7, "steps": steps}


def main() -> None:
    """Runs every task of the shard, and writes each result as soon as it is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--manifest", required=True)
    shard = load_shard(parser.parse_args().manifest)
    with open(os.environ["PREALLOC_RESULTS"], "a") as results:
        for kind, tasks in shard.by_type().items():
            print(f"{shard.id}: {len(tasks)} tasks of type {kind}")
            for task in tasks:
                results.write(json.dumps({"task": task["id"], "result": solve(task)}) + "\n")
                results.flush()


if __name__ == "__main__":
    main()
