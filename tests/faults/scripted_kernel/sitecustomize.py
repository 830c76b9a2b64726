"""Gives every interpreter that has this folder on PYTHONPATH a /proc of the test's, as control groups are read from it.

Python imports a module of this name by itself at its start. So a test may say that memory has run out.
"""

import os
from pathlib import Path

from prealloc.processes import cgroups

cgroups.PROC = Path(os.environ["SCRIPTED_PROC"])
cgroups.SETTLED_S = 2.0
