"""One master per run folder: a lock that ends with its owner, however that ends."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from prealloc.errors import RunFolderError
from prealloc.files.atomic import writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.regular import Unusable, open_regular, read_regular
from prealloc.model.document import UNREADABLE
from prealloc.model.words import quoted
from prealloc.processes.forks import forks

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows plans and runs inline; there two masters are not told apart
    fcntl = None  # type: ignore[assignment]

can_lock = fcntl is not None

_MOST_BYTES = 4096


class LockOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock, as the lock file says."""

    pid: int
    host: str


class RunLock:
    """Held while a master works on a run folder. Use it as a context manager.

    The lock is the kernel's (flock), not the file's existence: the kernel drops it when the owner dies (children that
    it has forked do not hold it), so a dead owner's lock is simply taken. The file only tells people who the owner is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        with writing(self._path, RunFolderError, otherwise="run it from a copy that you may write to"):
            fault_point(Point.LOCK_OPEN)
            descriptor = _open(self._path, os.O_RDWR | os.O_CREAT)
            try:
                if not _take(descriptor):
                    raise self._refusal()
                os.ftruncate(descriptor, 0)
                owner = msgspec.json.encode(LockOwner(pid=os.getpid(), host=socket.gethostname()))
                fault_point(Point.LOCK_WRITE, descriptor, owner)
                os.write(descriptor, owner)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        forks.keep_from(descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            forks.forget(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _refusal(self) -> RunFolderError:
        owner = read_owner(self._path)
        who = f"process {owner.pid} on {owner.host}" if owner else "another process"
        status = f"prealloc status {quoted(self._path.parent)}"
        return RunFolderError(
            f"{who} is running it",
            where=str(self._path.parent),
            hint=f"wait for it to end, or stop it with Ctrl-C; `{status}` shows how far it is",
        )


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """The block is run by one owner at a time, among all who give this file: waits for whoever is in it."""
    with writing(path, RunFolderError, otherwise="run it where you may write"):
        fault_point(Point.LOCK_OPEN)
        descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    forks.keep_from(descriptor)
    try:
        with exclusively(descriptor):
            yield
    finally:
        forks.forget(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def exclusively(descriptor: int) -> Iterator[None]:
    """Has this file to itself for the block, among all who ask for that: waits for whoever has it now."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def try_exclusively(descriptor: int) -> bool:
    """Takes this file for oneself, if nobody has it: never waits. `unlock` lets go of it."""
    return _lock(descriptor, fcntl.LOCK_EX)


def _lock(descriptor: int, kind: int) -> bool:
    """False: somebody has it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Lets the next one have it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def hold(descriptor: int) -> bool:
    """Marks a file as one that this process writes to, for as long as it has it open: see `is_held`.

    False: somebody else holds it, or there are no locks.
    """
    try:
        return can_lock and _lock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False


def is_held(path: Path) -> bool:
    """Whether a living process writes to this file."""
    if fcntl is None:  # pragma: no cover
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    # Never through a link out of the run folder: the lock's content is replaced.
    try:
        return open_regular(path, inside=path.parent, flags=flags)
    except Unusable as error:
        hint = "remove it if no master is running this run; a lock holds nothing that is needed"
        raise RunFolderError(str(error), where=str(path), hint=hint) from None


def _take(descriptor: int) -> bool:
    if fcntl is None:
        return True
    for pause_s in (0.05, 0.1, 0.2):  # `status` asks by holding a shared lock for a moment
        if try_exclusively(descriptor):
            return True
        time.sleep(pause_s)
    return try_exclusively(descriptor)


def read_owner(path: Path) -> LockOwner | None:
    """Who the lock file names; None if there is no such file or it is being written."""
    try:
        return msgspec.json.decode(read_regular(path, inside=path.parent, most=_MOST_BYTES), type=LockOwner)
    except (Unusable, *UNREADABLE):
        return None


def live_owner(path: Path) -> LockOwner | None:
    """The owner if one is alive: asks the kernel, without taking the lock away from anyone.

    Raises RunFolderError if something else than a lock file is there.
    """
    if fcntl is None or not os.path.lexists(path):
        return None
    descriptor = _open(path, os.O_RDONLY)
    try:
        return None if _lock(descriptor, fcntl.LOCK_SH) else read_owner(path)
    finally:
        os.close(descriptor)
