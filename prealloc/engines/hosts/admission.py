"""How a host is admitted: it says who it is, imports the worker function, and is told the session.

Before the session begins, what is wrong with a host is a reason to refuse the run; from then on it is that host's loss.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from prealloc._version import __version__
from prealloc.engines.base import Checked, WorkerCheck
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.entrance import Entrance
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.link import Link
from prealloc.engines.hosts.losses import Losses, send_away
from prealloc.engines.hosts.roster import RemoteHost, Stage
from prealloc.engines.hosts.shared import TURN_S, Shared
from prealloc.engines.hosts.units import UnitsOfHosts
from prealloc.errors import CannotGoOn, EngineError, JournalError, PreallocError, WorkerFunctionError
from prealloc.model.events import HostJoined
from prealloc.model.words import listed

GATHER_S = 1.0
"""When the first host is ready, the others get this long to say what is wrong with them."""
TELL_S = 15.0
"""Waiting for hosts is told after this time."""


class Admission:
    """Checks hosts before a session, and those that come while it runs."""

    def __init__(self, shared: Shared, entrance: Entrance, files: Files, losses: Losses, units: UnitsOfHosts) -> None:
        self._shared = shared
        self._entrance = entrance
        self._files = files
        self._losses = losses
        self._units = units
        self._wanted: WorkerCheck | None = None
        self._digest: str | None = None
        """Of the worker's module, as the first hosts have it."""
        self._broken: list[PreallocError] = []
        """What refuses the run."""

    # -- before a session -----------------------------------------------------------------------------------

    def begin(self, wanted: WorkerCheck) -> None:
        """Asks for the hosts. Again: they are there."""
        self._wanted = wanted
        if self._entrance.mailbox is None:
            self._files.take_code()
            self._entrance.open(wanted.tell)

    def check(self, wanted: WorkerCheck, turn: Callable[[float], None]) -> Checked:
        """Waits for the first host that can run the worker function. `turn` takes in what hosts say."""
        self.begin(wanted)
        roster = self._shared.roster
        began = time.monotonic()
        first: float | None = None
        told = False
        while True:
            turn(TURN_S)
            wanted.patience.wait_for_hosts()
            now = time.monotonic()
            ready = [host for host in roster if host.stage is Stage.READY]
            checking = [host for host in roster if host.stage is Stage.CHECKS]
            if first is None and (ready or self._broken):
                first = now
            missing = roster.expected and first is not None and now - first < GATHER_S
            if first is not None and not checking and not missing:
                break
            if not roster.here and not roster.expected and not self._broken:
                raise EngineError(f"no host can be started: {self._losses.last_words}", hint=self._entrance.hint())
            if not told and now - began > TELL_S:
                told = True
                wanted.tell(self._waits())
        if self._broken:
            raise _together(self._broken)
        self._digest = _the_same_digest(ready, wanted.worker)
        reports = [host.ready for host in ready if host.ready is not None]
        notes = dict.fromkeys(note for report in reports for note in report.notes)
        unset = dict.fromkeys(name for report in reports for name in report.unset)
        return Checked(tuple(notes), tuple(unset))

    def _waits(self) -> str:
        roster = self._shared.roster
        if checking := [host.name for host in roster if host.stage is Stage.CHECKS]:
            return f"waiting for {listed(checking, 3)} to import the worker's module"
        handles = [host.handle for host in roster.expected if host.handle is not None]
        shown = f" ({listed(handles, 3)})" if handles else ""
        why = f": {self._losses.trouble}" if self._losses.trouble else ""
        return f"waiting for the first of {self._shared.options.hosts} hosts{shown}{why}"

    # -- one host -------------------------------------------------------------------------------------------

    def greet(self, host: RemoteHost, link: Link, found: wire.Frame) -> None:
        """It has a connection: its first one, or another one."""
        hi: wire.Hi = found.message
        if host.hi is not None and hi.launch != host.hi.launch:
            send_away(link, f"{host.name} was started twice, and the other one was first")
            return
        if host.hi is None and hi.version != __version__:
            reason = f"it has prealloc {hi.version}, and the master has {__version__}"
            self._losses.lose(host, reason)
            send_away(link, reason)
            where = f"{host.name} on {hi.machine}"
            self._refuse_the_run(host, EngineError(reason, where=where, hint="install the same there"))
            return
        if host.link is not None:
            host.link.close()
        host.link, host.heard_at = link, time.monotonic()
        host.numbered.take(found)
        host.held = {*hi.held}
        acks = host.replica.begin_again() if host.replica is not None else {}
        link.send(host.numbered.plain(wire.Welcome(acks)))
        if host.over:
            host.mention(wire.Gone("it was given up, and what it had runs elsewhere"))
            return
        for raw in host.numbered.again():
            link.send(raw)
        if host.hi is None:
            host.hi, host.stage, host.joined_at = hi, Stage.CHECKS, time.monotonic()
            self._ask_to_check(host)
        else:
            self._files.send_again(host)

    def _ask_to_check(self, host: RemoteHost) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        if self._files.code is not None:
            self._files.send(host, self._files.code)
        passed = self._shared.options.pass_env
        host.say(
            wire.Check(
                worker=wanted.worker,
                import_path=(*wanted.import_path, *_own_path()),
                libraries=wanted.library_paths,
                variables=wanted.variables,
                start_s=min(wanted.patience.most_s, 1e9),
                environment={name: os.environ[name] for name in passed if name in os.environ},
                code=self._files.code,
            )
        )

    def is_ready(self, host: RemoteHost, message: wire.Ready) -> None:
        """It can run the worker function. If there is a session, it takes part from now on."""
        if host.stage is not Stage.CHECKS:
            return
        host.ready, host.stage, host.ready_at = message, Stage.READY, time.monotonic()
        if self._shared.setup is None:
            return
        if message.unset:
            self._losses.lose(host, f"the environment variable {', '.join(message.unset)} is not set there")
        elif message.digest != self._digest:
            reason = "its file of the worker's module is another one than on the first host; ‹ship› the code"
            self._losses.lose(host, reason)
        else:
            self.open(host)

    def is_broken(self, host: RemoteHost, message: wire.Broken) -> None:
        """It cannot run the worker function, or cannot go on."""
        kinds: Iterable[type[PreallocError]] = (WorkerFunctionError, JournalError, EngineError, CannotGoOn)
        kind = next((each for each in kinds if each.__name__ == message.kind), EngineError)
        error = kind(message.problem, where=message.where, hint=message.hint)
        if not self._refuse_the_run(host, error):
            self._losses.lose(host, f"it cannot go on: {error.problem}", error)

    def open(self, host: RemoteHost) -> None:
        """Tells it of the session. Again: nothing."""
        setup, options = self._shared.setup, self._shared.options
        if setup is None or host.is_open:
            return
        host.is_open = True
        self._units.follow(host)
        host.say(
            wire.Open(
                session=setup.session,
                policy=setup.policy,
                slice_bytes=setup.slice_bytes,
                cleanup=setup.cleanup,
                room=options.room or 10_000,
                all_logs=options.logs == "all",
            )
        )
        hi = host.hi
        self._shared.tell(
            HostJoined(
                host=host.name,
                machine=hi.machine if hi is not None else "",
                room=options.room,
                waited_s=round(host.joined_at - host.asked_at, 3),
            )
        )

    def _refuse_the_run(self, host: RemoteHost, error: PreallocError) -> bool:
        """Whether that is still in time."""
        if self._shared.setup is not None:
            return False
        self._broken.append(error)
        host.stage = Stage.LOST
        return True


def _the_same_digest(ready: Sequence[RemoteHost], worker: str) -> str | None:
    """Of the worker's module. Raises WorkerFunctionError if it is not the same on all hosts."""
    found: dict[str | None, list[str]] = {}
    for host in ready:
        found.setdefault(host.ready.digest if host.ready is not None else None, []).append(host.name)
    if len(found) > 1:
        told = "; ".join(
            f"{listed(names, 3)} have {digest or 'no file of it'}"[:120] for digest, names in found.items()
        )
        hint = "install the same there, or ‹ship› it"
        raise WorkerFunctionError(f"its module is not the same on all hosts: {told}", where=repr(worker), hint=hint)
    return next(iter(found), None)


def _together(errors: Sequence[PreallocError]) -> PreallocError:
    """What several hosts have found: one error, if it is the same everywhere."""
    texts = dict.fromkeys(error.problem for error in errors)
    if len(texts) == 1:
        return errors[0]
    first = errors[0]
    return type(first)("; ".join(texts), where=first.where, hint=first.hint)


def _own_path() -> list[str]:
    """Where this process imports from, beside what is installed: the same folders may be there on a host."""
    installed = tuple({os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)})
    return [path for path in sys.path if os.path.isabs(path) and not os.path.realpath(path).startswith(installed)]
