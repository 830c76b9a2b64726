"""Whether the lock of a run folder keeps a second master out here, and ends with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, problem, warning
from prealloc.errors import RunFolderError
from prealloc.files.lock import RunLock, live_owner
from prealloc.processes.parent import fresh_interpreter

_HELD_S = 30
_HINT = "keep run folders on a local file system: here nothing stops a second master"


def check_lock(folder: Path) -> Finding:
    """Two processes and one lock: while the other holds it we are refused, when it is killed we get it."""
    if os.name != "posix":
        return warning("lock", "this system has no flock: nothing stops a second master", "start one master at a time")
    path = folder / "lock"
    code = f"from prealloc.doctor.locks import hold; hold({str(path)!r})"
    pipe = subprocess.PIPE
    with subprocess.Popen(fresh_interpreter(code), stdin=pipe, stdout=pipe, text=True) as other:
        try:
            said = other.stdout.readline().strip() if other.stdout else ""
            if said != "held":
                return problem("lock", f"another process did not get it: {said or 'it ended'}", _HINT)
            if _taken(path):
                return problem("lock", "two processes hold the same lock at once", _HINT)
            owner = live_owner(path)
            if owner is None or owner.pid != other.pid:
                return problem("lock", "another process cannot see who holds it", _HINT)
        finally:
            other.kill()
    if not _taken(path):
        return problem("lock", "it stays when its owner is killed", _HINT)
    return ok("lock", "it keeps a second process out, and ends with its owner")


def hold(path: str) -> None:
    """In the other process: takes the lock, prints `held` or what refuses it, and holds it until killed."""
    signal.alarm(_HELD_S)  # our parent may be gone by then
    try:
        with RunLock(Path(path)):
            print("held", flush=True)  # noqa: T201  # the other end of the pipe reads it
            sys.stdin.read()
    except (OSError, RunFolderError) as error:
        print(f"refused: {error}".splitlines()[0], flush=True)  # noqa: T201


def _taken(path: Path) -> bool:
    try:
        with RunLock(path):
            return True
    except RunFolderError:
        return False
