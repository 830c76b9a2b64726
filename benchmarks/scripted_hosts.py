"""Hosts that run nothing, but speak the real wire: a second process, so that the master is measured by itself.

    python -m benchmarks.scripted_hosts FOLDER SCENARIO     FOLDER: the join files; SCENARIO: JSON, see Scenario

Prints what it has seen as JSON lines. Waits for a line on standard input wherever the bench wants to look first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from prealloc._version import __version__
from prealloc.engines.base import ShardJob
from prealloc.engines.handover import JobEnded
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.caller import AGAIN_S
from prealloc.engines.hosts.ship import module_digest
from prealloc.engines.hosts.spec import HostSpec, read_spec, trusting
from prealloc.model.outcome import Status
from prealloc.store.journal_lines import AttemptLine

WINDOW = 4 * 2**20
"""As a host has it: bytes that are on their way."""
BATCH = 2**18


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the hosts do."""

    hosts: int
    room: int
    line_bytes: int = 2000
    per_s: float | None = None
    """Outcomes over all hosts; None: as fast as it goes."""
    asks_per_s: float = 0.0
    """Of turns, over all hosts."""
    lane: str | None = None
    seconds: float = 0.0
    """How long it asks for turns; then it says what it has seen."""
    lose: int = 0
    """So many hosts fall silent at once when all have their jobs."""
    decide: bool = True
    """Whether jobs come to an end."""


class Bench:
    """All hosts, and what they have seen together."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.scenario = scenario
        self.specs = [_read(folder / f"host-{n}.json") for n in range(1, scenario.hosts + 1)]
        self.context = trusting(self.specs[0].certificate)
        self.begin = asyncio.Event()
        """They may say that they are ready."""
        self.checked = self.opened = self.jobs = self.acked = 0
        self.first_line = self.last_ack = 0.0
        self.turns: list[float] = []
        self.silent = False
        self.again: list[float] = []
        """When jobs came after some hosts fell silent."""

    async def run(self) -> None:
        began = time.monotonic()
        hosts = [Host(self, spec, number) for number, spec in enumerate(self.specs)]
        tasks = [asyncio.create_task(host.run()) for host in hosts]
        await until(lambda: self.checked == len(hosts))
        say("checked", seconds=time.monotonic() - began)
        await answer()
        self.begin.set()
        began = time.monotonic()
        await until(lambda: self.opened == len(hosts))
        say("opened", seconds=time.monotonic() - began)
        scenario = self.scenario
        if scenario.lose:
            await until(lambda: self.jobs >= scenario.hosts * scenario.room // 2)
            self.silent, at = True, time.monotonic()
            had = sum(host.running for host in hosts[: scenario.lose])
            await until(lambda: len(self.again) >= had)
            say("again", seconds=max(self.again) - at)
            return
        if scenario.asks_per_s:
            await asyncio.sleep(scenario.seconds)
            say("turns", seconds=sorted(self.turns))
            return
        await asyncio.wait(tasks)
        say("decided", outcomes=self.acked, seconds=self.last_ack - self.first_line)


class Host:
    """One of them."""

    def __init__(self, bench: Bench, spec: HostSpec, number: int) -> None:
        self._bench = bench
        self._spec = spec
        self._number = number
        self._numbered = wire.Numbered()
        self._files: dict[str, bytes] = {}
        self._waiting: deque[wire.Run] = deque()
        self.running = 0
        self._session = 1
        self._acked: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._asked: dict[int, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _is_lost(self) -> bool:
        return self._bench.silent and self._number < self._bench.scenario.lose

    async def run(self) -> None:
        """Until its end. Who does not come in tries again, as hosts do."""
        while True:
            try:
                return await self._serve()
            except (OSError, InvalidHandshake):
                await asyncio.sleep(AGAIN_S)

    async def _serve(self) -> None:
        spec = self._spec
        async with connect(
            f"wss://127.0.0.1:{spec.port}/",
            ssl=self._bench.context,
            additional_headers={"Authorization": f"Bearer {spec.token}"},
            compression=None,
            max_size=None,
            ping_interval=None,
            open_timeout=120,
            proxy=None,
        ) as self._connection:
            hi = wire.Hi(
                launch=str(self._number), version=__version__, python="3", machine="m", room=self._bench.scenario.room
            )
            await self._send(self._numbered.plain(hi))
            self._tasks.append(asyncio.create_task(self._beat()))
            try:
                async for raw in self._connection:
                    if self._is_lost:
                        await asyncio.sleep(1000)
                    if not await self._hear(bytes(raw)):  # type: ignore[arg-type]
                        return
            except ConnectionClosed:  # the bench has seen what it wanted
                return
            finally:
                for task in self._tasks:
                    task.cancel()

    async def _hear(self, raw: bytes) -> bool:
        found = wire.read_frame(raw, wire.to_host)
        if not self._numbered.take(found):
            return True
        message = found.message
        if isinstance(message, wire.Ack):
            self._acked.update(message.files)
            self._moved.set()
        elif isinstance(message, wire.Go):
            now = time.monotonic()
            self._bench.turns += [now - self._asked.pop(turn.turn) for turn in message.turns]
        elif isinstance(message, wire.Check):
            self._bench.checked += 1
            await self._bench.begin.wait()
            digest = module_digest(message.worker, message.import_path)
            await self._say(wire.Ready(notes=(), unset=(), digest=digest))
        elif isinstance(message, wire.Open):
            self._bench.opened += 1
            self._session = message.session
            await self._tell()
        elif isinstance(message, wire.Blob):
            key = message.sha256
            self._files[key] = self._files.get(key, b"")[: message.offset] + found.body
        elif isinstance(message, wire.Run):
            self._waiting.append(message)
        elif isinstance(message, wire.Bye | wire.Gone):
            return False
        while self._waiting and self._waiting[0].job in self._files:
            job = wire.unpack_job(self._files.pop(self._waiting.popleft().job))
            self._start(job)
        return True

    def _start(self, job: ShardJob) -> None:
        bench = self._bench
        bench.jobs += 1
        self.running += 1
        if bench.silent:
            bench.again.append(time.monotonic())
        if bench.scenario.asks_per_s:
            self._tasks.append(asyncio.create_task(self._ask(job)))
        elif bench.scenario.decide:
            self._tasks.append(asyncio.create_task(self._decide(job)))

    async def _decide(self, job: ShardJob) -> None:
        """All its units end, one after the other, as a worker's would: lines, acknowledgements, the job's end."""
        bench, scenario = self._bench, self._bench.scenario
        file = f"{job.manifest.id}.{self._session:04}.{job.number % 9000 + 1:04}.jsonl"
        sent, batch, count = 0, b"", 0
        bench.first_line = bench.first_line or time.monotonic()
        for order in job.units.orders:
            batch += line(self._spec.name, job, order, scenario.line_bytes)
            count += 1
            if scenario.per_s is not None:
                await asyncio.sleep(scenario.hosts * scenario.room / scenario.per_s)
            if scenario.per_s is not None or len(batch) > BATCH // scenario.room or count == len(job.units.orders):
                while sent - self._acked.get(file, 0) > WINDOW // scenario.room:
                    await self._wait_for_acks()
                await self._send(self._numbered.plain(wire.Lines(file, sent), batch))
                sent, batch = sent + len(batch), b""
        while self._acked.get(file, 0) < sent:
            await self._wait_for_acks()
        bench.acked += count
        bench.last_ack = time.monotonic()
        await self._say(wire.Told((JobEnded(job=job.number, shard=job.shard),)))
        self.running -= 1
        await self._tell()

    async def _wait_for_acks(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _ask(self, job: ShardJob) -> None:
        """Turns of a lane, at a steady pace."""
        scenario = self._bench.scenario
        pause_s = scenario.hosts * scenario.room / scenario.asks_per_s
        turn = job.number * 1_000_000
        await asyncio.sleep(pause_s * (job.number % 97) / 97)
        while True:
            turn += 1
            self._asked[turn] = time.monotonic()
            await self._say(wire.Ask(scenario.lane or "", job.number, turn, 0))
            await asyncio.sleep(pause_s)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            if not self._is_lost:
                await self._tell()

    async def _tell(self) -> None:
        beat = wire.Beat(
            clock=time.monotonic(),
            rtt_s=0.001,
            ahead_s=0.0,
            room=max(0, self._bench.scenario.room - self.running - len(self._waiting)),
            memory={},
            unbegun={},
            spool_left=2**40,
        )
        await self._send(self._numbered.plain(beat))

    async def _say(self, message: wire.Message) -> None:
        await self._send(self._numbered.number(message))

    async def _send(self, raw: bytes) -> None:
        await self._connection.send(raw)


def line(host: str, job: ShardJob, order: Any, size: int) -> bytes:
    """The ending of a unit, of about so many bytes."""
    ended = AttemptLine(
        shard=job.manifest.id,
        task=job.ids[order.position][0],
        repeat=order.repeat,
        attempt=order.attempt,
        status=Status.OK,
        started_at=time.time(),
        queued_s=0.0,
        waiting_s=0.0,
        working_s=0.1,
        peak_rss=1,
        host=host,
        success=True,
        result=msgspec.Raw(b'"' + b"x" * max(0, size - 300) + b'"'),
    )
    return msgspec.json.encode(ended) + b"\n"


def _read(path: Path) -> HostSpec:
    return read_spec(path.read_bytes(), str(path))


async def until(happens: Any) -> None:
    while not happens():
        await asyncio.sleep(0.002)


async def answer() -> None:
    """Waits for a line from the bench."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def say(what: str, **figures: Any) -> None:
    print(json.dumps({"what": what, **figures}), flush=True)


if __name__ == "__main__":
    asyncio.run(Bench(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Scenario)).run())
