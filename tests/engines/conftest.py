"""Only `make test-engines` runs what is here: the engines come from packages of the system, and need root."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "PREALLOC_ENGINE" in os.environ else ["test_*.py"]
