"""One master per run folder: a lock that ends with its owner, however that ends."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import TracebackType

import msgspec

from prealloc.errors import RunFolderError
from prealloc.files.atomic import writing
from prealloc.files.faultpoint import Point, fault_point

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows plans and runs inline; there two masters are not told apart
    fcntl = None  # type: ignore[assignment]


class LockOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock, as the lock file tells it."""

    pid: int
    host: str


class RunLock:
    """Held while a master works on a run folder. Use it as a context manager.

    The lock is the kernel's (flock), not the file's existence: the kernel drops it when the owner dies, so
    a dead owner's lock is simply taken. The file only tells people who the owner is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        with writing(self._path, RunFolderError, otherwise="run it from a copy that you may write to"):
            fault_point(Point.LOCK_OPEN)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _refusal(self) -> RunFolderError:
        owner = read_owner(self._path)
        who = f"process {owner.pid} on {owner.host}" if owner else "another process"
        return RunFolderError(
            f"{who} is running it",
            where=str(self._path.parent),
            mend="wait for it to end, or stop it with Ctrl-C; `prealloc status` shows how far it is",
        )


def _take(descriptor: int) -> bool:
    if fcntl is None:
        return True
    for pause_s in (0.05, 0.1, 0.2, None):  # `status` asks by holding a shared lock for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if pause_s is not None:
                time.sleep(pause_s)
    return False


def read_owner(path: Path) -> LockOwner | None:
    """Who the lock file names; None if there is no such file or it is being written."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LockOwner)
    except (OSError, msgspec.DecodeError):
        return None


def live_owner(path: Path) -> LockOwner | None:
    """The owner if one is alive: asks the kernel, without taking the lock away from anyone."""
    if fcntl is None or not path.exists():
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_owner(path)
    finally:
        os.close(descriptor)
    return None
