"""An engine with scripted hosts: what they say, the test says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from run_events import attempt_line
from run_setup import job_of, setup_in

from prealloc._version import __version__
from prealloc.engines.base import WorkerCheck
from prealloc.engines.handover import JobEnded
from prealloc.engines.hosts import admission, entrance, wire
from prealloc.engines.hosts.engine import HostsEngine
from prealloc.engines.hosts.link import Closed, Heard, News, Opened
from prealloc.engines.hosts.providers.messages import Gone
from prealloc.model.events import Event
from prealloc.model.lane import Lane
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.policy import EngineOptions, RunPolicy
from prealloc.store.fold import fold
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan
from prealloc.worker.job import UnitOrder


class Mailbox:
    """Holds what the test says."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self._event = os.eventfd(1)

    def fileno(self) -> int:
        return self._event

    def take(self) -> list[News]:
        news, self.news = self.news, []
        return news


class Listener:
    """Lets the scripted hosts in."""

    port = 1

    def __init__(self, address: str, port: int, identity: Any, reply: Any) -> None:
        self.identity = identity
        self.mailbox = Mailbox()
        self.tokens: dict[str, str] = {}

    def admit(self, token: str, name: str) -> None:
        self.tokens[name] = token

    def strike(self, token: str) -> None:
        self.tokens = {name: kept for name, kept in self.tokens.items() if kept != token}

    def close(self) -> None:
        pass


class Provider:
    """Starts nothing."""

    alive = True

    def __init__(self, *given: Any) -> None:
        self.asked: list[str] = []
        self.told: list[Any] = []
        self._event = os.eventfd(0)

    def await_ready(self) -> None:
        pass

    def start(self, name: str, spec: bytes) -> None:
        self.asked.append(name)

    def stop(self, name: str) -> None:
        pass

    def news(self) -> Sequence[Any]:
        told, self.told = self.told, []
        return told

    def fileno(self) -> int:
        return self._event

    def close(self) -> None:
        pass


class Scripted:
    """A host that says what the test has it say."""

    broken = False

    def __init__(self, bench: Bench, name: str, launch: str = "one") -> None:
        self.name = name
        self.open = True
        self.bench = bench
        self.got: list[Any] = []
        self._numbered = wire.Numbered()
        self._offsets: dict[str, int] = {}
        bench.mailbox.news.append(Opened(self))  # type: ignore[arg-type]  # it stands in for a link
        self.say(wire.Hi(launch, __version__, "3", "node", None))

    # -- as of Link -----------------------------------------------------------------------------------------

    def send(self, raw: bytes) -> None:
        found = wire.read_frame(raw, wire.to_host)
        self._numbered.take(found)
        self.got.append(found.message)

    def feed(self, pieces: Iterator[bytes]) -> None:
        for raw in pieces:
            self.send(raw)

    def close(self) -> None:
        self.open = False

    abort = close

    # -- what it says ---------------------------------------------------------------------------------------

    def say(self, message: wire.Message, body: bytes = b"") -> None:
        plain = isinstance(message, wire.Hi | wire.Lines | wire.Beat)
        raw = self._numbered.plain(message, body) if plain else self._raw(message)
        self.bench.mailbox.news.append(Heard(self, raw, 0.0))  # type: ignore[arg-type]

    def _raw(self, message: wire.Message) -> bytes:
        return self._numbered.number(message)

    def ready(self, digest: str | None = "d") -> None:
        self.say(wire.Ready((), (), digest))

    def beat(self, room: int = 1) -> None:
        self.say(wire.Beat(0.0, 0.001, 0.0, room, {}, {}, 1))

    def ends(self, task: str, **more: Any) -> None:
        line = msgspec.json.encode(attempt_line("shard-00", task, **{"host": self.name, **more})) + b"\n"
        file = "shard-00.0001.0001.jsonl"
        self.say(wire.Lines(file, self._offsets.get(file, 0)), line)
        self._offsets[file] = self._offsets.get(file, 0) + len(line)

    def hangs_up(self) -> None:
        self.open = False
        self.bench.mailbox.news.append(Closed(self, "gone"))  # type: ignore[arg-type]

    def last(self, kind: type) -> Any:
        return [message for message in self.got if isinstance(message, kind)][-1]


class Bench:
    """An engine, its hosts, and the journal of its run: one shard of three tasks."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(entrance, "Listener", Listener)
        monkeypatch.setattr(entrance, "ProviderProcess", Provider)
        monkeypatch.setattr(admission, "GATHER_S", 0.0)
        self.engine = HostsEngine("process", EngineOptions(hosts=2))
        self.engine._admission._digest = "d"
        self.engine._admission.begin(WorkerCheck("m:f", ()))
        self.mailbox: Mailbox = self.engine._entrance.mailbox  # type: ignore[assignment]
        self.provider: Provider = self.engine._entrance._provider  # type: ignore[assignment]
        self.policy = RunPolicy.checked(concurrency=4)
        self.setup = setup_in(root, self.policy)
        self.paths, self.journal = self.setup.paths, self.setup.journal
        self.plan = make_plan(3)
        write_plan(self.plan, self.paths.plan.root)
        self.events: list[Event] = []
        self.numbers = 0

    def host(self, name: str, room: int = 1) -> Scripted:
        """One that is ready."""
        made = Scripted(self, name)
        self.settle()
        made.ready()
        made.beat(room)
        self.settle()
        return made

    def begin(self, *names: str) -> list[Scripted]:
        hosts = [self.host(name) for name in names]
        self.engine.open(self.setup)
        return hosts

    def launch(self, orders: Sequence[UnitOrder] | None = None, *, lane: Lane | None = None) -> None:
        self.numbers += 1
        (shard,) = self.plan.shards
        job = job_of(shard, self.policy, orders or None, number=self.numbers, lane=lane, deaths=self.deaths())
        self.engine.launch(job)

    def launch_as_master(self, most: int) -> dict[str, int]:
        """As many jobs as there is room for, at most so many. Gives those of each host."""
        while most and self.engine.room().jobs > 0:
            self.launch([UnitOrder(0, 0, 1)])
            most -= 1
        return {host.name: len(host.jobs) for host in self.engine._roster if host.jobs}

    def deaths(self) -> dict[tuple[int, int], int]:
        found = [event.left.deaths for event in self.events if isinstance(event, JobEnded)]
        return dict(found[-1]) if found else {}

    def settle(self) -> list[Event]:
        """Lets the engine take in what was said."""
        events = [*self.engine.wait(0.0), *self.engine.wait(0.0)]
        self.events += events
        return events

    def loses(self, host: Scripted) -> list[Event]:
        host.hangs_up()
        self.provider.told.append(Gone(host.name, "killed"))
        return self.settle()

    def link_of(self, name: str) -> Scripted:
        host: Any = self.engine._roster.get(name)
        made: Scripted = host.link
        return made

    def left(self) -> list[UnitOrder]:
        """What the last job has given back."""
        return list([event for event in self.events if isinstance(event, JobEnded)][-1].left.orders)

    def statuses(self) -> dict[str, Status]:
        units = [Unit("shard-00", task.id, 0) for task in self.plan.shards[0].tasks]
        return {unit.task: state.status for unit, state in fold(self.paths, units).units.items()}
