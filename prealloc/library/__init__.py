"""Reads task libraries, on the master's side only: one file per format, one pass, no parsing of workflows.

`read_library(path)` -> `ScannedLibrary`: ids and types of all tasks, and the tasks asked for, compacted
and checked. `prealloc.library.sample.write_sample(out)` makes a library to try prealloc with.

Where the steps live: `disk` and `unpack` (bytes), `folder` (which file), `formats` (how tasks lie in the
bytes), `rows` (ids and types), `structure` (nothing said twice), `diagnose` (what is wrong, and where).
"""

from __future__ import annotations

from prealloc.library.open import read_library

__all__ = ["read_library"]
