"""A finding: what was looked at, how it is, what was seen, how to fix it; and a probe, bounded in time."""

from __future__ import annotations

import concurrent.futures
import enum
import threading
from collections.abc import Callable, Sequence

import msgspec

from prealloc.errors import PreallocError
from prealloc.files.paths import readable_name
from prealloc.store.repair import Moved

PROBE_S = 20.0
"""What one probe gets: far over what any takes on a machine that works."""

ENDING_S = 4.0


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Runs work, and something of them does not work as well as it could."""
    PROBLEM = "problem"
    """Runs, or this run, will not work."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    level: Level
    seen: str
    where: str | None = None
    hint: str | None = None


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did."""

    moved: tuple[Moved, ...]
    """Nothing: there was nothing to repair."""
    again: tuple[str, ...]
    """Units that resume runs and that what was moved may have decided, as `shard/task#repeat`."""
    resume: str
    """The command that runs them."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that was looked at, in three groups."""

    folder: str
    """Whose file system was tried: of the run, if one was named."""
    machine: tuple[Finding, ...]
    files: tuple[Finding, ...]
    run: tuple[Finding, ...]
    """Empty if no run was named."""
    hosts: tuple[Finding, ...] = ()
    """Empty if no engine was named."""
    repair: Repaired | None = None
    """What was repaired before, if that was asked for."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.machine + self.files + self.run + self.hosts

    @property
    def exit_code(self) -> int:
        """1 if there is a problem, else 0."""
        return int(any(finding.level is Level.PROBLEM for finding in self.findings))


def ok(name: str, seen: str) -> Finding:
    """It is as it should be."""
    return Finding(name=name, level=Level.OK, seen=seen)


def warning(name: str, seen: str, hint: str, *, where: str | None = None) -> Finding:
    """Something of runs works less well than it could."""
    return Finding(name=name, level=Level.WARNING, seen=seen, where=_readable(where), hint=hint)


def problem(name: str, seen: str, hint: str, *, where: str | None = None) -> Finding:
    """Runs, or this run, will not work."""
    return Finding(name=name, level=Level.PROBLEM, seen=seen, where=_readable(where), hint=hint)


def refused(name: str, error: PreallocError, *, hint: str = "see the message") -> Finding:
    """What prealloc itself says of it; `hint` if it does not say how."""
    return problem(name, error.problem, error.hint or hint, where=error.where)


def bounded(name: str, probe: Callable[[], Sequence[Finding]], timeout_s: float = PROBE_S) -> list[Finding]:
    """What the probe finds; a finding of its own if the system refuses it, or gives no answer in time.

    A file system that hangs must not hang the doctor.
    """
    answer: concurrent.futures.Future[Sequence[Finding]] = concurrent.futures.Future()

    def work() -> None:
        try:
            answer.set_result(probe())
        except BaseException as error:  # not swallowed: it is raised where the answer is asked for
            answer.set_exception(error)

    # A daemon: one that never comes back is left behind.
    threading.Thread(target=work, name=f"prealloc-doctor-{name}", daemon=True).start()
    try:
        in_time = concurrent.futures.wait([answer], timeout_s).done
    except BaseException:  # told to end: the probe gets a moment to remove what it has made
        concurrent.futures.wait([answer], ENDING_S)
        raise
    if not in_time:
        return [problem(name, f"no answer within {timeout_s:g} s", "see the system's log")]
    try:
        return list(answer.result())
    except OSError as error:
        seen = f"the system refuses it: {error.strerror or error}"
        return [
            problem(name, seen, "find the cause, then run doctor again", where=error.filename and str(error.filename))
        ]


def _readable(where: str | None) -> str | None:
    return None if where is None else readable_name(where)
