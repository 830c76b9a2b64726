"""Reads task libraries, on the master's side only: one small protocol, one file per format.

`read_library(path)` -> `Library` (base.py): ids and types of all tasks, and the tasks asked for, compacted and
checked. `convert(source, out)` writes one in another format, `make_index(path)` lets a JSON file be read task by
task. `prealloc.sample_library.write.write_sample(out)` makes a library to try prealloc with.
"""

from __future__ import annotations

from prealloc.library.open import read_library

__all__ = ["read_library"]
