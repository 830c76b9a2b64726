"""Steers a session while it runs: takes what `prealloc ctl` asks for, and keeps to the limits of the whole run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from prealloc.engines.base import Engine, ShardJob
from prealloc.engines.bound import shares_of
from prealloc.engines.control_socket import ControlSocket, answer
from prealloc.engines.limits import RunLimits
from prealloc.errors import Mistake, OptionsError
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.document import UNREADABLE
from prealloc.model.events import Event, LimitReached, Note, RunSteered
from prealloc.model.policy import RunPolicy
from prealloc.model.steer import Change, Course, LaneRate
from prealloc.model.words import brief, listed
from prealloc.store.journal_lines import Steered
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.run_folder import OpenRun
from prealloc.worker.in_flight import most_slots

_changes = msgspec.json.Decoder(Change)


class Control:
    """How a session goes on: how many shards and tasks at once, whether anything starts, and until when."""

    def __init__(
        self, run: OpenRun, *, at_once: int, engine: Engine, limiter: RateLimiter[Any], journal: JournalWriter
    ) -> None:
        self.policy = run.policy
        self.shares = shares_of(run, run.policy)
        self.at_once = at_once
        """Jobs that run at once, each in a worker."""
        self.paused = False
        self.stopped: str | None = None
        """The limit that is reached."""
        self.socket: ControlSocket | None = None
        """None: nobody can ask for anything."""
        self._run = run
        self._manifests = run.manifests
        self._engine = engine
        self._facts = engine.facts
        self._limiter = limiter
        self._lanes = {lane.name: lane for lane in run.plan.spec.lanes}
        self._journal = journal
        self.limits = RunLimits(run.policy, time.monotonic(), time.monotonic)
        """Whoever hears of the ends of attempts counts them there."""
        self._widths: dict[int, int] = {}
        """Tasks at once of each job that runs, as the engine has it."""
        self._steered = False
        self._least = run.policy.concurrency
        """What the workers that run began with, or more."""

    def close(self) -> None:
        """From now on nobody can ask for anything. May be called twice."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def limit(self) -> list[Event]:
        """What follows if a limit has just been reached: from then on nothing starts."""
        notes: list[Event] = [Note(text=text)] if (text := self.limits.note()) is not None else []
        if self.stopped is not None or (reason := self.limits.reached()) is None:
            return notes
        self.stopped = reason
        self._journal.append(Steered(at=time.time(), stopped=reason))
        return [*notes, LimitReached(reason=reason)]

    # -- what is asked for ----------------------------------------------------------------------------------

    def room(self, running: int) -> int:
        """How many more jobs may start beside those that run."""
        return 0 if self.paused else max(0, self.at_once - running)

    def listen(self, running: Mapping[int, ShardJob], waiting: int) -> list[Event]:
        """Does what clients ask for. `running` are the jobs that run, as they began; `waiting` do not yet."""
        events: list[Event] = []
        for raw, client in self.socket.requests() if self.socket is not None else ():
            notes, mistakes = self._take(raw, len(running), events)
            self._engine.allow(self.widths(running))
            course = Course(
                workers=self.at_once,
                concurrency=self.policy.concurrency,
                paused=self.paused,
                stopped=self.stopped,
                running=len(running),
                waiting=waiting,
                lanes=tuple(
                    LaneRate(name=name, per_s=self._limiter.per_s(name), halted=self._limiter.halted(name))
                    for name in self._lanes
                ),
                notes=tuple(notes),
                mistakes=tuple((where, problem, hint) for where, problem, hint in mistakes),
            )
            answer(client, msgspec.json.encode(course))
        return events

    def launched(self, job: ShardJob) -> None:
        """A job runs, as many tasks at once as its policy says."""
        self._widths[job.number] = job.policy.concurrency

    def ended(self, job: int) -> None:
        """It does not any more."""
        self._widths.pop(job, None)

    def policy_of(self, shard: str, lane: str | None) -> RunPolicy:
        """The options of a shard, with the tasks at once that this lane and its cell leave it."""
        return self.shares[lane].in_cell(self._manifests[shard].cell)

    def concurrency(self) -> tuple[int, int | None]:
        """Tasks at once in each worker: the least, and the most where that is another number."""
        planned = self._manifests.items()
        tasks = [self.policy_of(shard, manifest.planned_lane).concurrency for shard, manifest in planned]
        least, most = min(tasks, default=self.policy.concurrency), max(tasks, default=0)
        return least, most if most > least else None

    def widths(self, running: Mapping[int, ShardJob]) -> dict[int, int]:
        """Tasks at once of the jobs for which that has changed. Of too many jobs the latest are held: 0."""
        if not self._steered:
            return {}
        wanted = {
            number: 0 if self.paused or place >= self.at_once else self.policy_of(job.shard, job.lane).concurrency
            for place, (number, job) in enumerate(running.items())
        }
        changed = {job: tasks for job, tasks in wanted.items() if self._widths.get(job) != tasks}
        self._widths.update(changed)
        return changed

    def _take(self, raw: bytes, running: int, events: list[Event]) -> tuple[list[str], Sequence[Mistake]]:
        """Makes the change, or none. Gives what the user should know, and the mistakes."""
        try:
            asked = _changes.decode(raw)
            given: Any = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
            change = Change.checked(**given)
        except UNREADABLE as error:
            return [], [Mistake("ctl", f"the request cannot be read: {brief(error)}", "use the run's own version")]
        except OptionsError as error:
            return [], error.mistakes
        if mistakes := self._refusals(change):
            return [], mistakes
        if change == Change():
            return [], []
        notes = self._notes(change)
        if change.workers is not None and change.workers > running:
            more, too_few = self._engine.allowed(change.workers - running)
            change = msgspec.structs.replace(change, workers=running + more)
            notes += [too_few] if too_few is not None else []
        self._journal.append(Steered(at=time.time(), change=change))
        self._steered = True
        if change.workers is not None:
            self.at_once = change.workers
        if change.concurrency is not None:
            self.policy = msgspec.structs.replace(self.policy, concurrency=change.concurrency)
            self.shares = shares_of(self._run, self.policy)
        if change.pause is not None:
            self.paused = change.pause
        if change.lane is not None and change.rate is not None:
            self._limiter.change(change.lane, change.rate)
        least, most = self.concurrency()
        events.append(RunSteered(workers=self.at_once, concurrency=least, concurrency_most=most, paused=self.paused))
        return notes, []

    def _refusals(self, change: Change) -> list[Mistake]:
        asked = {"workers": change.workers, "concurrency": change.concurrency, "rate": change.rate}
        found = [
            Mistake(f"‹{name}›", f"{self._facts.cannot_change[name]}, so it cannot be changed now", "omit it")
            for name, value in asked.items()
            if value is not None and name in self._facts.cannot_change
        ]
        if change.lane is not None and change.lane not in self._lanes:
            known = ", ".join(self._lanes)
            hint = f"its lanes are {known}" if known else "the run has no lanes; omit it"
            found.append(Mistake("‹lane›", f"the run has no lane {change.lane}", hint))
        return found

    def _notes(self, change: Change) -> list[str]:
        notes = []
        fewer = change.workers is not None and change.workers < self.at_once
        if (change.pause or fewer) and "pause" in self._facts.cannot_change:
            notes.append(f"{self._facts.cannot_change['pause']}: those that run go on to their end")
        if change.concurrency is not None:
            most = most_slots(self._least)
            own = [name for name, lane in self._lanes.items() if lane.concurrency is not None]
            cells = any("concurrency" in entry for entry in self.policy.where)
            notes += [f"workers that run take up to {most} tasks at once"] if change.concurrency > most else []
            notes += [f"lanes with a concurrency of their own keep it: {listed(own)}"] if own else []
            notes += ["cells with a concurrency of their own keep it"] if cells else []
        lane = self._lanes.get(change.lane or "")
        if lane is not None and change.rate is not None:
            per_minute = lane.requests_per_minute
            if per_minute is not None and per_minute / 60 < change.rate:
                notes.append(f"its requests_per_minute of {per_minute} still holds")
            if (why := self._limiter.halted(lane.name)) is not None:
                notes.append(f"lane {lane.name} has halted: {why}")
        return notes
