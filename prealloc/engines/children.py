"""The processes that an engine has asked its launcher for, from the asking to the end of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from prealloc.engines.launch import Born, Died, Launcher, Refused
from prealloc.processes.memory import proportional_bytes


class Child(Protocol):
    """What an engine knows a process by."""

    shard: str

    def close(self) -> None:
        """Lets go of what is open for it."""
        ...


C = TypeVar("C", bound=Child)


class Children(Generic[C]):
    """Those of one launcher. The engine asks the launcher for processes, with the tags that it gets here."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._tags = 0
        self.unborn: dict[int, C] = {}
        """By tag."""
        self.living: dict[int, C] = {}
        """By process id."""

    def tag(self, child: C) -> int:
        """The tag to ask for this process with."""
        self._tags += 1
        self.unborn[self._tags] = child
        return self._tags

    def news(self) -> Iterator[tuple[C, Born | Refused | Died]]:
        """What has happened to whom since the last call. Never waits."""
        for each in self._launcher.happened():
            if isinstance(each, Died):
                yield self.living.pop(each.pid), each
                continue
            child = self.unborn.pop(each.tag)
            if isinstance(each, Born):
                self.living[each.pid] = child
            yield child, each

    @property
    def all(self) -> Sequence[C]:
        """Those that are not gone."""
        return [*self.unborn.values(), *self.living.values()]

    def memory(self) -> Mapping[str, int]:
        """As of Engine."""
        found: dict[str, list[int]] = {"": list(self._launcher.helpers())}
        for pid, child in self.living.items():
            found.setdefault(child.shard, []).append(pid)
        return {shard: proportional_bytes(pids) for shard, pids in found.items()}

    def close(self) -> None:
        """Leaves no process behind."""
        self._launcher.close()
        for child in self.all:
            child.close()
        self.unborn.clear()
        self.living.clear()
