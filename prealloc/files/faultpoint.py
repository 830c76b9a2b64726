"""Fault points: named places in the code where a test has a process die, or a disk fail, on purpose.

    PREALLOC_FAULT="worker.journal.append:3:torn"          the third line of a worker is cut, and the worker dies
    PREALLOC_FAULT="lock.write:1:ENOSPC,fork.forked:2:kill"  several, each strikes once

Each is `point:count:action`. The count is that of passages in one process, from 1. With PREALLOC_FAULT_COUNTS set to
a folder, it is that of all processes that share the folder, in the order in which they come: every passage of every
point adds one byte to the file there of the point's name, so the folder also tells which points were passed.

    kill          this process dies (SIGKILL)
    kill-master   the master dies, and this process goes on until somebody notices
    stop          this process stops (SIGSTOP) until somebody sends SIGCONT, perhaps with another signal before
    torn          half of the line is written, then this process dies; only where a line is written
    EIO           the write fails, and nothing was written
    ENOSPC        the write fails, and half of the line was written, as a disk does that becomes full
    EAGAIN        the process is not started

Without the variable `fault_point` is a function that does nothing. It is read when this module is first imported,
and its entries when the first point is passed: a mistake in them is an OptionsError before anything was written.
"""

from __future__ import annotations

import enum
import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from prealloc.errors import Mistake, OptionsError

VARIABLE = "PREALLOC_FAULT"
COUNTS = "PREALLOC_FAULT_COUNTS"
MASTER = "PREALLOC_FAULT_MASTER"
"""Set by the first process that has faults: who dies of `kill-master`."""


class Kind(enum.Enum):
    """What can go wrong at a point."""

    HAND_OVER = "hand-over"
    """Something passes from one hand into another: a process may die in between."""
    WRITE = "write"
    """The disk is asked for something, and may refuse as well."""
    LINE = "line"
    """A line is written, and may also be cut."""
    START = "start"
    """A process is to be started, and the system may refuse that."""


class Point(enum.StrEnum):
    """Every fault point there is."""

    kind: Kind

    def __new__(cls, name: str, kind: Kind) -> Point:
        made = str.__new__(cls, name)
        made._value_ = name
        made.kind = kind
        return made

    # whole files and folders
    FILE_WRITE = "file.write", Kind.WRITE
    FILE_RENAME = "file.rename", Kind.WRITE
    FOLDER_MAKE = "folder.make", Kind.WRITE
    FOLDER_COPY = "folder.copy", Kind.WRITE
    FOLDER_RENAME = "folder.rename", Kind.WRITE
    FOLDER_EXCHANGE = "folder.exchange", Kind.WRITE
    FOLDER_REMOVE = "folder.remove", Kind.HAND_OVER
    PLAN_SLICE = "plan.slice", Kind.WRITE
    PLAN_MANIFEST = "plan.manifest", Kind.WRITE
    PLAN_FILE = "plan.file", Kind.WRITE
    RUN_FOLDERS = "run.folders", Kind.WRITE
    TEMPORARY_MAKE = "temporary.make", Kind.WRITE
    LOCK_OPEN = "lock.open", Kind.WRITE
    LOCK_WRITE = "lock.write", Kind.LINE
    PRIVATE_FOLDER = "private.folder", Kind.WRITE
    PRIVATE_SECRET = "private.secret", Kind.WRITE
    LANE_WRITE = "lane.write", Kind.LINE
    TELEMETRY_WRITE = "telemetry.write", Kind.LINE
    CLAIMS_OPEN = "claims.open", Kind.WRITE
    CLAIMS_WRITE = "claims.write", Kind.LINE
    LOG_OPEN = "log.open", Kind.WRITE
    LOG_IMPORT = "log.import", Kind.WRITE
    LOG_CUT = "log.cut", Kind.WRITE

    # the journal
    WORKER_OPEN = "worker.journal.open", Kind.WRITE
    WORKER_APPEND = "worker.journal.append", Kind.LINE
    WORKER_FSYNC = "worker.journal.fsync", Kind.WRITE
    SUPERVISOR_OPEN = "supervisor.journal.open", Kind.WRITE
    SUPERVISOR_SESSION = "supervisor.journal.session", Kind.LINE
    SUPERVISOR_SESSION_END = "supervisor.journal.session-end", Kind.LINE
    SUPERVISOR_SEALED = "supervisor.journal.sealed", Kind.LINE
    SUPERVISOR_REOPENED = "supervisor.journal.reopened", Kind.LINE
    SUPERVISOR_STEERED = "supervisor.journal.steered", Kind.LINE
    SUPERVISOR_REUSED = "supervisor.journal.reused", Kind.LINE
    SUPERVISOR_WORKER = "supervisor.journal.worker", Kind.LINE
    SUPERVISOR_WORKER_END = "supervisor.journal.worker-end", Kind.LINE
    SUPERVISOR_DEATH = "supervisor.journal.death", Kind.LINE
    SUPERVISOR_LOST = "supervisor.journal.lost", Kind.LINE
    SUPERVISOR_VERDICT = "supervisor.journal.verdict", Kind.LINE
    SUPERVISOR_LIBRARY = "supervisor.journal.library", Kind.LINE
    SUPERVISOR_CLEANED = "supervisor.journal.clean", Kind.LINE
    SUPERVISOR_FSYNC = "supervisor.journal.fsync", Kind.WRITE

    # the master, from a session's start to its end
    SESSION_FOLDERS = "session.folders", Kind.WRITE
    CONTROL_BIND = "control.bind", Kind.HAND_OVER
    UNITS_CLAIMED = "units.claimed", Kind.HAND_OVER
    SHARD_LAUNCH = "shard.launch", Kind.HAND_OVER
    SHIP_PAYLOAD = "ship.payload", Kind.WRITE
    SHIP_SEND = "ship.send", Kind.HAND_OVER
    SHIP_SENT = "ship.sent", Kind.HAND_OVER
    ENDING_HEARD = "ending.heard", Kind.HAND_OVER
    UNITS_ASKED = "units.asked", Kind.HAND_OVER
    UNITS_RETURNED = "units.returned", Kind.HAND_OVER
    UNITS_WAITING = "units.waiting", Kind.HAND_OVER
    WORKER_DIED = "worker.died", Kind.HAND_OVER
    WORKER_BURIED = "worker.buried", Kind.HAND_OVER
    VERDICT_WRITTEN = "verdict.written", Kind.HAND_OVER
    SESSION_END = "session.end", Kind.HAND_OVER
    SESSION_TELL = "session.tell", Kind.HAND_OVER

    # hosts elsewhere: what they are sent, and what of their journals the master has
    SPOOL_FOLDERS = "spool.folders", Kind.WRITE
    SPOOL_NOTE = "spool.note", Kind.WRITE
    SPOOL_RECEIVE = "spool.receive", Kind.WRITE
    REPLICA_OPEN = "replica.open", Kind.WRITE
    REPLICA_APPEND = "replica.append", Kind.LINE
    REPLICA_FSYNC = "replica.fsync", Kind.WRITE
    REPLICA_TOLD = "replica.told", Kind.HAND_OVER

    # the fork server
    FORK_ASKED = "fork.asked", Kind.START
    FORK_FORKED = "fork.forked", Kind.HAND_OVER
    FORK_REAPED = "fork.reaped", Kind.HAND_OVER

    # a worker
    WORKER_BORN = "worker.born", Kind.HAND_OVER
    WORKER_READY = "worker.ready", Kind.HAND_OVER
    ATTEMPT_OFF = "attempt.off", Kind.HAND_OVER
    ATTEMPT_FINISHED = "attempt.finished", Kind.HAND_OVER
    ATTEMPT_OVERDUE = "attempt.overdue", Kind.HAND_OVER
    ATTEMPT_WRITTEN = "attempt.written", Kind.HAND_OVER
    ATTEMPT_LANDED = "attempt.landed", Kind.HAND_OVER
    ATTEMPT_TOLD = "attempt.told", Kind.HAND_OVER
    WORKER_RETIRING = "worker.retiring", Kind.HAND_OVER
    WORKER_RETIRED = "worker.retired", Kind.HAND_OVER
    WORKER_HANDING_BACK = "worker.handing-back", Kind.HAND_OVER
    WORKER_HANDED_BACK = "worker.handed-back", Kind.HAND_OVER
    WORKER_BYE = "worker.bye", Kind.HAND_OVER
    WORKER_BYE_SAID = "worker.bye-said", Kind.HAND_OVER


ACTIONS = {
    "kill": frozenset(Kind),
    "kill-master": frozenset(Kind),
    "stop": frozenset(Kind),
    "torn": frozenset({Kind.LINE}),
    "EIO": frozenset({Kind.WRITE, Kind.LINE}),
    "ENOSPC": frozenset({Kind.WRITE, Kind.LINE}),
    "EAGAIN": frozenset({Kind.START}),
}
"""At which kinds of points an action makes sense."""


class Fault(NamedTuple):
    """What happens at which passage of a point."""

    point: Point
    passage: int
    action: str


def parse_faults(text: str) -> tuple[Fault, ...]:
    """The faults that the variable asks for. Raises OptionsError with every mistake in it."""
    import difflib  # only those who test pay for it

    faults: list[Fault] = []
    mistakes: list[Mistake] = []
    points = {str(point): point for point in Point}
    for entry in text.split(","):
        name, _, rest = entry.strip().partition(":")
        count, _, action = rest.partition(":")
        point = points.get(name)
        if point is None:
            near = difflib.get_close_matches(name, points, n=3) or ["one of Point in faultpoint.py"]
            mistakes.append(Mistake(VARIABLE, f"there is no point {name!r}", f"did you mean {', '.join(near)}?"))
        elif not (count.isascii() and count.isdigit() and int(count) > 0):
            mistakes.append(Mistake(VARIABLE, f"{count!r} is not a count", "write point:count:action, counts from 1"))
        elif point.kind not in ACTIONS.get(action, ()):
            possible = [each for each, kinds in ACTIONS.items() if point.kind in kinds]
            mistakes.append(Mistake(VARIABLE, f"{name} cannot {action!r}", f"use one of {', '.join(possible)}"))
        else:
            faults.append(Fault(point, int(count), action))
    if mistakes:
        raise OptionsError(mistakes)
    return tuple(faults)


FaultPoint = Callable[..., None]
"""fault_point(point), or fault_point(point, descriptor, line) where a line is about to be written."""


class _Armed:
    """`fault_point` when there are faults."""

    def __init__(self) -> None:
        self._faults: tuple[Fault, ...] | None = None
        self._counts: Counter[Point] = Counter()
        self._lock = threading.Lock()
        self._folder = os.environ.get(COUNTS)
        os.environ.setdefault(MASTER, str(os.getpid()))

    def __call__(self, point: Point, descriptor: int = -1, line: bytes | memoryview = b"") -> None:
        if self._faults is None:
            self._faults = parse_faults(os.environ[VARIABLE])
        number = self._passage(point)
        for fault in self._faults:
            if fault.point is point and fault.passage == number:
                _strike(fault.action, descriptor, line)

    def _passage(self, point: Point) -> int:
        if self._folder is None:
            with self._lock:
                self._counts[point] += 1
                return self._counts[point]
        descriptor = os.open(Path(self._folder, point), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, b".")
            return os.lseek(descriptor, 0, os.SEEK_CUR)  # where our own byte ended, whoever else appends
        finally:
            os.close(descriptor)


def _strike(action: str, descriptor: int, line: bytes | memoryview) -> None:
    if action == "kill-master":
        os.kill(int(os.environ[MASTER]), signal.SIGKILL)
        return
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    if action in ("torn", "ENOSPC") and line:
        os.write(descriptor, line[: len(line) // 2])
    if action in ("kill", "torn"):
        _die()
    number = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EAGAIN": errno.EAGAIN}[action]
    raise OSError(number, os.strerror(number))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # it has been sent; nothing of ours may happen until it comes
        time.sleep(1)


def _nothing(point: Point, descriptor: int = -1, line: bytes | memoryview = b"") -> None:
    """`fault_point` as it is outside of tests."""


fault_point: FaultPoint = _Armed() if os.environ.get(VARIABLE) else _nothing
"""Called wherever something is written or handed over. May not return."""
