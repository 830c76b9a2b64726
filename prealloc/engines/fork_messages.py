"""What crosses the control socket between a master and its fork server, one JSON object a packet.

Apart from the server, which loads all that workers need: a master needs none of that.
"""

from __future__ import annotations

import msgspec

from prealloc.errors import WorkerFunctionError
from prealloc.model.policy import KILL_STEP_S

DESCRIPTORS = 4
"""With each Fork: the worker's channel, its job, its log, its in-flight table."""


class ServerMessage(msgspec.Struct, frozen=True, tag=str.lower):
    """The root of what crosses the control socket: one JSON object a packet."""


class Preload(ServerMessage, frozen=True):
    """To the server: import the worker function; workers are forked with it loaded."""

    worker: str
    import_path: tuple[str, ...]
    library: tuple[tuple[int, int], ...]
    variables: tuple[str, ...]
    """Of the environment: say which of them are not set."""


class Preloaded(ServerMessage, frozen=True):
    """From the server, or from a process that only looks: how importing the worker function went."""

    problem: str | None
    where: str | None
    hint: str | None
    unset: tuple[str, ...]
    left: str | None = None
    """What the import has left open or running. Workers must not share it, so the master starts another server."""
    opened_library: str | None = None

    def check(self) -> None:
        """Raises WorkerFunctionError if there is a problem."""
        if self.problem is not None:
            raise WorkerFunctionError(self.problem, where=self.where, hint=self.hint)


class Fork(ServerMessage, frozen=True):
    """To the server, with DESCRIPTORS descriptors: fork a worker. `tag` comes back with its pid."""

    tag: int


class Execute(ServerMessage, frozen=True):
    """To the server, with the descriptor of a log: start a program. `tag` comes back with its pid, as a Fork's does."""

    tag: int
    command: tuple[str, ...]
    environment: dict[str, str]
    """Beside our own."""
    folder: str
    """It starts there."""


class Born(ServerMessage, frozen=True):
    """From the server: the process that was asked for with this tag has this pid."""

    tag: int
    pid: int


class Refused(ServerMessage, frozen=True):
    """From the server, instead of a Born: the system refuses to start a process now. What was asked for is dropped."""

    tag: int
    reason: str


class Kill(ServerMessage, frozen=True):
    """To the server: end a worker and all that descends from it, by the ladder, or `now`."""

    pid: int
    now: bool
    step_s: float = KILL_STEP_S
    """Between SIGTERM and SIGKILL."""


class Died(ServerMessage, frozen=True):
    """From the server: a process is gone and reaped. `status` as os.waitpid gives it."""

    pid: int
    status: int


ToServer = Preload | Fork | Execute | Kill
Happened = Born | Refused | Died
"""What a launcher tells, whether it has a server or not."""
FromServer = Preloaded | Happened
PACKET = 1 << 20
