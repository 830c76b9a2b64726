"""What ties a process to its parent and to its run: marks, dying with the parent, adopting orphans, a fresh start.

Imports the standard library alone, and little of it: `prealloc memory` measures processes that load this.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MARK = "PREALLOC_WORKER"
"""Environment variable that holds the worker's pid in it and in all that its tasks start."""

RUN_MARK = "PREALLOC_RUN"
"""Environment variable beside it that holds the run's mark: see run_mark."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)  # opened before forking: opening it in each worker would cost each 0.3 MB


def run_mark(journal: Path) -> str:
    """What tells the processes of one run from those of all others, and stays when its folder is moved."""
    status = journal.stat()
    return f"{status.st_dev}:{status.st_ino}"


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` dies, and ends it now if that has happened already."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Takes die_with back."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """From now on, a process below this one whose parent ends becomes our child (Linux: a child subreaper)."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fresh_interpreter(code: str) -> list[str]:
    """The command of an interpreter with the import path of this one, without its own working folder."""
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
