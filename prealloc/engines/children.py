"""What engines share whose processes run on this machine: who was asked for, who lives, who runs out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from prealloc.engines.admission import Admission, within_open_files
from prealloc.engines.base import Engine, RunSetup
from prealloc.engines.launch import Born, Died, Launcher, Refused
from prealloc.engines.memory_watch import LOOK_S, MemoryWatch
from prealloc.engines.refusals import Refusals
from prealloc.model.events import Event
from prealloc.processes.cgroups import OomKills
from prealloc.processes.memory import proportional_bytes


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

    def _news(self) -> Iterator[tuple[C, Born | Refused | Died]]:
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
