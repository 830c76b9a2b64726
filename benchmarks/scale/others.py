"""The same work with what others have: 25 shards of 20 random tasks from a JSON lines library, each shard a file.

`python benchmarks/scale/others.py WAY LIBRARY FOLDER`. Run as a script: each way imports what it needs and no more.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHARDS, EACH = 25, 20


def json_loads(library: str) -> list[dict[str, Any]]:
    """All of it as Python objects, as workers do today."""
    with open(library) as file:
        tasks = [json.loads(line) for line in file]
    return random.Random(1).sample(tasks, SHARDS * EACH)


def with_ijson(library: str) -> list[dict[str, Any]]:
    """One pass, and a reservoir (algorithm R): the only one of these that holds no more than it selects."""
    import ijson

    chosen: list[dict[str, Any]] = []
    draw = random.Random(1)
    with open(library, "rb") as file:
        for number, task in enumerate(ijson.items(file, "", multiple_values=True, use_float=True)):
            if number < SHARDS * EACH:
                chosen.append(task)
            elif (place := draw.randrange(number + 1)) < SHARDS * EACH:
                chosen[place] = task
    return chosen


def with_polars(library: str) -> list[dict[str, Any]]:
    import polars

    frame = polars.read_ndjson(library)
    return frame.sample(SHARDS * EACH, seed=1).to_dicts()


def with_duckdb(library: str) -> list[dict[str, Any]]:
    import duckdb

    query = f"SELECT * FROM read_json_auto('{library}') USING SAMPLE reservoir({SHARDS * EACH} ROWS) REPEATABLE (1)"
    rows = duckdb.sql(query)
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]


WAYS = {"json.loads": json_loads, "ijson": with_ijson, "polars": with_polars, "duckdb": with_duckdb}


def write(tasks: list[dict[str, Any]], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for shard, mine in enumerate(_dealt(tasks)):
        (folder / f"{shard}.json").write_text(json.dumps({"tasks": mine}))


def _dealt(tasks: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    return (tasks[shard::SHARDS] for shard in range(SHARDS))


def read_bytes(library: str) -> None:
    """What no reader of a library can do without: its bytes, and their fingerprint."""
    import hashlib

    with open(library, "rb") as file:
        hashlib.file_digest(file, "sha256")


def load(library: str) -> None:
    with open(library, "rb") as file:
        json.load(file)


if __name__ == "__main__":
    if sys.argv[1] in (readers := {"bytes": read_bytes, "load": load}):
        readers[sys.argv[1]](sys.argv[2])
        raise SystemExit
    write(WAYS[sys.argv[1]](sys.argv[2]), Path(sys.argv[3]))
