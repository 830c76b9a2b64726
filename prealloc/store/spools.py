"""What hosts have written and nobody has heard: the master died, or the link did, before it came to the run's journal.

Hosts with `spool=FOLDER` write where every machine can read. A resume takes in from there what decides units that are
still open; all else is a repetition, or evidence of an attempt that was given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prealloc.errors import JournalError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.outcome import FINAL
from prealloc.model.plan import Unit
from prealloc.store.fold import RunState
from prealloc.store.journal import journal_files, read_line, read_lines
from prealloc.store.journal_lines import AttemptLine

MOST_BYTES = 2**20
"""Of the list of folders."""


class Unheard(NamedTuple):
    """Outcomes that are not in the run's journal yet, and what the user should know."""

    lines: list[AttemptLine]
    notes: list[str]


def note_spools(run: RunPaths, folder: Path) -> None:
    """Notes where the hosts of this session write."""
    with must_write(run.spools):
        fault_point(Point.SPOOL_NOTE)
        with open(run.spools, "a", encoding="utf-8") as file:
            file.write(f"{folder}\n")


def unheard(run: RunPaths, before: RunState) -> Unheard:
    """What hosts of earlier sessions have decided. What cannot be read is told, and runs again."""
    found: dict[Unit, AttemptLine] = {}
    notes: list[str] = []
    for folder in _folders(run):
        count = len(found)
        for host in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                for line in _lines(RunPaths(host)):
                    state = before.units.get(line.unit)
                    if state is not None and state.open and state.first is None:
                        found.setdefault(line.unit, line)
            except JournalError as error:
                notes.append(f"what {host.name} has written is left out: {error.where}: {error.problem}")
        if len(found) > count:
            notes.append(f"{len(found) - count} outcomes that hosts had written to {folder} are taken in")
    return Unheard(list(found.values()), notes)


def _folders(run: RunPaths) -> Iterator[Path]:
    try:
        raw = read_regular(run.spools, inside=run.root, most=MOST_BYTES)
    except (Unusable, OSError):
        return
    for line in dict.fromkeys(raw.decode("utf-8", "replace").splitlines()):
        if line.startswith("/"):
            yield Path(line)


def _lines(host: RunPaths) -> Iterator[AttemptLine]:
    """The final endings in a host's journal, with their results."""
    for file in journal_files(host):
        for line in read_lines(file):
            content = line.content
            if isinstance(content, AttemptLine) and not content.late and content.status in FINAL:
                whole = read_line(file.path, line.offset, line.length)
                if whole.host == host.root.name and whole.reused is None:
                    yield whole
