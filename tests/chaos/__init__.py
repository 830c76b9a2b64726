"""Measures what RELIABILITY.md promises, on real processes: `make chaos` the gates, `make soak` endurance.

No tests: they take minutes, and a loaded machine misses a gate. The harness and the checker are those of tests/faults.
"""

import signal
import sys
from pathlib import Path

# As for the tests: the harness imports its neighbours, and those of all tests, by their bare names.
sys.path[:0] = [str(Path(__file__).parents[1] / "faults"), str(Path(__file__).parents[1])]
# As tests/conftest.py: a background job of a shell could send its sessions no Ctrl-C that they hear.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
