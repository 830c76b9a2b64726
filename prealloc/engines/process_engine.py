"""What engines share whose processes run on this machine: who was asked for, who lives, who runs out of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from prealloc.engines.admission import Admission, within_open_files
from prealloc.engines.base import Engine, RunSetup
from prealloc.engines.fork_messages import Born, Died, Happened
from prealloc.engines.launch import Launcher
from prealloc.engines.memory_watch import LOOK_S, MemoryWatch
from prealloc.errors import EngineError
from prealloc.files.atomic import MORE_PROCESSES
from prealloc.model.events import Event, Note
from prealloc.processes.cgroups import OomKills
from prealloc.processes.memory import proportional_bytes

REFUSED_AGAIN_S = 1.0

_OR = f"{MORE_PROCESSES}, or give fewer"


class Refusals:
    """What follows when the system starts no further process or thread: those that run go on; it is asked again."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._since: float | None = None
        self._again_at: float | None = None
        self._reason = ""
        self._told = False

    def met(self, reason: str, running: int) -> list[Event]:
        """One was refused. Reported once a run: it may come and go with every worker that ends."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        self._again_at = now + REFUSED_AGAIN_S
        self._reason = reason
        if self._told:
            return []
        self._told = True
        waiting = f"{running} workers run, the others wait"
        return [Note(text=f"the system starts no further process or thread ({reason}): {waiting}; {_OR} workers")]

    def ask_again(self, at_work: Callable[[], bool]) -> bool:
        """Whether it is time to. Raises EngineError if the system has refused, and none worked, for too long."""
        if self._since is None:
            return False
        now = time.monotonic()
        if at_work():
            self._since = now
        elif now - self._since > self._most_s:
            raise EngineError(
                f"the system has started no worker for {self._most_s:g} s (‹start_s›): {self._reason}",
                hint=f"{_OR} ‹workers›; then `prealloc resume`",
            )
        if self._again_at is None or now < self._again_at:
            return False
        self._again_at = None
        return True


class Child(Protocol):
    """What an engine knows a process by."""

    shard: str

    def close(self) -> None:
        """Lets go of what is open for it."""
        ...


C = TypeVar("C", bound=Child)


class ProcessEngine(Engine, Generic[C]):
    """Has a launcher start processes, with the tags that it gets from `_tag`. Public methods are those of Engine."""

    def __init__(self, launcher: Launcher, admission: Callable[[int], Admission] = Admission) -> None:
        self._launcher = launcher
        self._make_admission = admission
        self._tags = 0
        self._unborn: dict[int, C] = {}
        """By tag: asked for, and not started yet."""
        self._living: dict[int, C] = {}
        """By process id."""
        self._events: list[Event] = []
        """What `wait` has not given yet."""

    def open(self, setup: RunSetup) -> None:
        self._setup = setup
        self._refusals = Refusals(setup.policy.start_s)
        self._oom = OomKills()
        self._admission = self._make_admission(setup.slice_bytes)
        limit = setup.policy.memory_bytes
        self._memory_watch = MemoryWatch(limit) if limit is not None else None

    def allowed(self, jobs: int) -> tuple[int, str | None]:
        return within_open_files(jobs)

    def memory(self) -> Mapping[str, int]:
        found: dict[str, list[int]] = {"": list(self._launcher.helpers())}
        for pid, child in self._living.items():
            found.setdefault(child.shard, []).append(pid)
        return self._admission.look({shard: proportional_bytes(pids) for shard, pids in found.items()})

    def close(self) -> None:
        self._launcher.close()
        for child in self._here:
            child.close()
        self._unborn.clear()
        self._living.clear()

    def _tag(self, child: C) -> int:
        """The tag to ask for this process with."""
        self._tags += 1
        self._unborn[self._tags] = child
        return self._tags

    def _news(self) -> Iterator[tuple[C, Happened]]:
        """What has happened to whom since the last call. Never waits."""
        for each in self._launcher.happened():
            if isinstance(each, Died):
                yield self._living.pop(each.pid), each
                continue
            child = self._unborn.pop(each.tag)
            if isinstance(each, Born):
                self._living[each.pid] = child
            yield child, each

    @property
    def _here(self) -> Sequence[C]:
        """Those that are not gone."""
        return [*self._unborn.values(), *self._living.values()]

    def _over_memory(self) -> Iterator[tuple[int, C, int]]:
        """(process id, process, bytes) of those that hold too much, with all that they have started."""
        for pid, held in self._memory_watch.over(self._living).items() if self._memory_watch is not None else ():
            yield pid, self._living[pid], held

    def _within(self, pause_s: float) -> float:
        """How long nothing has to be looked at that is looked at this often; less where memory is watched."""
        return pause_s if self._memory_watch is None else LOOK_S

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
