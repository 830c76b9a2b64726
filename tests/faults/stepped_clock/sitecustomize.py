"""Gives every interpreter that has this folder on PYTHONPATH a wall clock that a test can step.

Python imports a module of this name by itself at its start, in the master, the fork server and the workers alike. The
monotonic clock is left alone: what rests on it must not notice.
"""

import os
import time

_wall = time.time


def stepped() -> float:
    """The wall clock, with the step that the file holds at the moment."""
    with open(os.environ["STEPPED_CLOCK"]) as file:
        return _wall() + float(file.read() or 0)


time.time = stepped
time.time_ns = lambda: int(stepped() * 1e9)
