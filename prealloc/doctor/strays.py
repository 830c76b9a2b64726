"""Processes of a run that still run without a master. A process id alone proves nothing: numbers are used again.

One is blamed only for what no process of another run can have:

    it writes to a journal or log file of this run (device and inode of what it has open), or
    its environment carries this run's mark and a worker id that the journal has, and it began after the run did, or
    it is the fork server above one of these.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.processes.parent import MARK, RUN_MARK, run_mark
from prealloc.processes.tree import began_at, command_of, parent_of, started_with
from prealloc.store.journal import sort_folder

CLOCK_SLACK_S = 2.0
"""run.json's time has whole seconds, and a process's start is counted from the boot."""

_FORK_SERVER = "prealloc.engines.forkserver"


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A process of this run without a master."""

    pid: int
    command: str
    why: str
    """What shows that it is of this run."""


def find_strays(run: RunPaths, recorded: Collection[int], since: float | None) -> list[Stray]:
    """Every such process that this user may look at. `recorded` are the workers' ids in the journal.

    `since` is when the run was made, in seconds since 1970; None if that cannot be read. Elsewhere than on
    Linux nothing is found.
    """
    if sys.platform != "linux":
        return []
    files = _files(run)
    mark = run_mark(run.journal) if run.journal.is_dir() else None
    found: dict[int, Stray] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == os.getpid():
            continue
        why = _writes(pid, files) or (_carries(pid, mark, recorded, since) if mark else None)
        if why is not None:
            found[pid] = Stray(pid=pid, command=_short(pid), why=why)
    for pid in list(found):
        parent = parent_of(pid)
        if parent is not None and parent not in found and _FORK_SERVER in command_of(parent):
            found[parent] = Stray(pid=parent, command=_short(parent), why=f"it is the fork server of {pid}")
    return [found[pid] for pid in sorted(found)]


def _files(run: RunPaths) -> dict[tuple[int, int], str]:
    """{(device, inode): name} of what only this run's processes write to."""
    found = {}
    files, _ = sort_folder(run)
    shards = {file.writer.shard for file in files if file.writer.shard is not None}
    # Not every *.log: the user may keep what a pipe of theirs writes beside them.
    for path in (*(file.path for file in files), *(run.log(shard) for shard in shards)):
        if path.is_file():
            status = path.stat()
            found[status.st_dev, status.st_ino] = f"{path.parent.name}/{path.name}"
    return found


def _writes(pid: int, files: dict[tuple[int, int], str]) -> str | None:
    """Whether it has one of these open to write; `tail -f` of a log has it open to read."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            status = os.stat(f"/proc/{pid}/fd/{name}")
            file = files.get((status.st_dev, status.st_ino))
            if file is not None and _flags(pid, name) & os.O_ACCMODE != os.O_RDONLY:
                return f"it writes to {file}"
    except OSError:  # it is gone, or another user's
        return None
    return None


def _flags(pid: int, descriptor: str) -> int:
    with open(f"/proc/{pid}/fdinfo/{descriptor}", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file if b":" in line)
    return int(fields[b"flags"], 8)


def _carries(pid: int, mark: str, recorded: Collection[int], since: float | None) -> str | None:
    if started_with(pid, RUN_MARK) != mark:
        return None
    worker, began = started_with(pid, MARK) or "", began_at(pid)
    if not worker.isdecimal() or int(worker) not in recorded or began is None:
        return None
    if since is not None and began < since - CLOCK_SLACK_S:
        return None
    return f"a task of worker {worker} started it"


def _short(pid: int) -> str:
    return " ".join(command_of(pid).split())[:80]
