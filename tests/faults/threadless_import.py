"""A module after whose import the system lets the first two workers start no thread."""

import os
import threading
from typing import Any

from agents import act as act

FORKED_FROM = os.getpid()
start = threading.Thread.start


def refuse(self: threading.Thread) -> Any:
    if os.getpid() != FORKED_FROM:
        with open(os.environ["REFUSED"], "ab") as file:
            file.write(b".")
            if file.tell() <= 2:
                raise RuntimeError("can't start new thread")
    return start(self)


threading.Thread.start = refuse  # type: ignore[method-assign]
