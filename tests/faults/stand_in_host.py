"""Stands in for a host where only its start and its end matter: writes down what it was given, and stays.

Its spec is JSON: `file` is where it writes what it was given, `says` what it prints, `ends` the exit code that it ends
with at once. It gets the spec as a host does, on standard input or by `--join FILE`, and it ends with its parent, as a
host does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    parent = os.getppid()
    join = sys.argv[sys.argv.index("--join") + 1] if "--join" in sys.argv else None
    text = Path(join).read_text() if join else sys.stdin.read()
    spec = json.loads(text)
    file = Path(spec["file"])
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    told = {"pid": os.getpid(), "host": socket.gethostname(), "spec": text, "join": join, "argv": sys.argv}
    beside.write_text(json.dumps({**told, "environment": dict(os.environ), "folder": os.getcwd()}))
    beside.rename(file)
    print(spec.get("says", ""), file=sys.stderr, flush=True)
    if "ends" in spec:
        sys.exit(spec["ends"])
    while os.getppid() == parent:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
