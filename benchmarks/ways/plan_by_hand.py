"""The plan of scenario "plan" by hand: everything loaded, a sample, a file for each worker.

`python plan_by_hand.py json|orjson LIBRARY FOLDER WORKERS TASKS`. It checks nothing that `prealloc plan` checks.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def codec(name: str) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    if name == "orjson":
        import orjson

        return orjson.loads, orjson.dumps
    import json

    return json.loads, lambda value: json.dumps(value).encode()


if __name__ == "__main__":
    loads, dumps = codec(sys.argv[1])
    library, folder, workers, each = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    chosen = random.Random(1).sample(loads(library.read_bytes())["tasks"], workers * each)
    folder.mkdir()
    for worker in range(workers):
        (folder / f"{worker}.json").write_bytes(dumps({"tasks": chosen[worker::workers]}))
