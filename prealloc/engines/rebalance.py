"""Which job gives units to a worker place that has nothing to run, and how many.

A few tasks that take long keep a shard busy while others have ended. Then the job whose units have longest to wait
gives the last half of them. That is worth a worker's start only if they would wait longer than it takes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prealloc.engines.base import ShardJob
from prealloc.model.events import AttemptEnded

FIRST_START_S = 0.2
"""What the start of a worker takes, as long as none has been seen."""

WORTH = 2.0
"""The units of a job that gives some must have to wait for longer than this number of worker starts takes."""

ANSWER_S = 1.0
"""A job that has not answered for this long may never do so: others are asked meanwhile."""


class _Pace:
    """What attempts have taken."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.attempts = 0

    @property
    def mean_s(self) -> float | None:
        return self.seconds / self.attempts if self.attempts else None


class Rebalance:
    """Folds what is known of the jobs, and chooses. `now` is for tests."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._jobs: dict[int, ShardJob] = {}
        self._asked: dict[int, float] = {}
        """When each job was asked that has not answered yet."""
        self._quiet_until: dict[int, float] = {}
        """Until then a job is left alone: it has just been launched, or has just given units."""
        self._launched: dict[str, float] = {}
        """By shard: those of which no attempt has ended yet."""
        self._paces: defaultdict[str, _Pace] = defaultdict(_Pace)
        """By shard."""
        self._all = _Pace()
        self._start_s: float | None = None
        self._first_at: float | None = None
        self._latest: dict[str, float] = {}
        """By shard: when something has last begun or ended in it."""

    def launched(self, job: ShardJob) -> None:
        """The job begins."""
        self._jobs[job.number] = job
        self._quiet_until[job.number] = self._now() + self.start_s
        self._latest[job.shard] = self._now()
        if self._first_at is None:
            self._first_at = self._now()
        if job.shard not in self._paces:
            self._launched.setdefault(job.shard, self._now())

    def heard(self, event: AttemptEnded) -> None:
        """An attempt has ended."""
        seconds, now = event.working_s + event.waiting_s, self._now()
        self._latest[event.shard] = now
        for pace in (self._paces[event.shard], self._all):
            pace.seconds += seconds
            pace.attempts += 1
        if (launched := self._launched.pop(event.shard, None)) is not None:
            took_s = max(0.0, now - seconds - launched)
            self._start_s = took_s if self._start_s is None else min(self._start_s, took_s)

    def answered(self, job: int) -> None:
        """It has given what it had to give."""
        self._asked.pop(job, None)
        self._quiet_until[job] = self._now() + self.start_s

    def ended(self, job: int) -> None:
        """Nothing more happens in it."""
        for known in (self._jobs, self._asked, self._quiet_until):
            known.pop(job, None)

    @property
    def start_s(self) -> float:
        """What the start of a worker takes, where it is quick: at first many start at once, and wait for each other."""
        return FIRST_START_S if self._start_s is None else self._start_s

    def choose(
        self, places: int, unbegun: Mapping[int, int], spare: Callable[[ShardJob], float]
    ) -> Iterable[tuple[int, int]]:
        """(job, units): whom to ask for how many when so many places are free.

        `unbegun` are the units of each job that have not begun, `spare` says how many more jobs of its shard the lanes
        have room for.
        """
        now = self._now()
        waiting = [job for job, at in self._asked.items() if now - at < ANSWER_S]
        free = [number for number, units in unbegun.items() if units and self._may_ask(number, now)]
        for number in sorted(free, key=lambda number: -self._left_s(number, unbegun[number])):
            if len(waiting) >= places:
                return
            job, units = self._jobs[number], (unbegun[number] + 1) // 2
            if spare(job) > len(waiting) and self._left_s(number, unbegun[number]) >= WORTH * self.start_s:
                self._asked[number] = now
                waiting.append(number)
                yield number, units

    def _may_ask(self, job: int, now: float) -> bool:
        return job in self._jobs and job not in self._asked and now >= self._quiet_until[job]

    def _left_s(self, number: int, units: int) -> float:
        """How long it takes until the job has ended these units, as far as that can be known.

        What runs in it is expected to need half as long again as it has run: who has outlived the others may outlive
        more.
        """
        job = self._jobs[number]
        mean_s = self._paces.get(job.shard, self._all).mean_s
        if mean_s is None:  # no attempt has ended yet: each takes as long as that, at least
            mean_s = self._now() - (self._first_at or self._now())
        return units * mean_s / job.policy.concurrency + (self._now() - self._latest[job.shard]) / 2
