"""The command engine: an outside program, started once per shard, that takes a manifest and writes its results down.

    prealloc run plan/ --command 'python my_runner.py --manifest {manifest}' --out run/

The program gets the path of its manifest, and in PREALLOC_RESULTS that of a file to which it appends a JSON line for
each unit that it ends: {"task", "repeat", "status", "result"}. The master reads that file while it grows and writes
each outcome into the journal; what it has not come to when it dies, the next session takes in first. A unit without a
line has not run. What happens inside the program prealloc cannot see: it runs the program to its end, or ends its
tree when no result has come for --timeout (SIGTERM, and SIGKILL after --grace), or at once when it holds more than
--memory. It runs where `prealloc run` was started, on resume too.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TypeGuard

import msgspec

from prealloc.engines.admission import Room
from prealloc.engines.base import Checked, EngineFacts, RunSetup, ShardJob, WorkerCheck
from prealloc.engines.command_results import Reported, ResultsTail
from prealloc.engines.deaths import describe_exit
from prealloc.engines.fork_launcher import ForkServerLauncher
from prealloc.engines.fork_messages import Born, Refused
from prealloc.engines.handover import JobEnded
from prealloc.engines.log import cut_back, end_of_log, last_line, open_log
from prealloc.engines.process_engine import ProcessEngine
from prealloc.errors import WorkerFunctionError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.regular import Unusable
from prealloc.model.events import AttemptEnded, Event, Note, WorkerLost
from prealloc.model.outcome import FINAL, verdict
from prealloc.model.policy import KILL_STEP_S
from prealloc.model.usage import model_named, usage_in
from prealloc.model.words import shown, size
from prealloc.processes.tree import identify
from prealloc.store.build import write_rest
from prealloc.store.journal_lines import NO_RESULT, AttemptLine
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.run_folder import MANIFEST
from prealloc.worker.function import unset

RESULTS = "PREALLOC_RESULTS"
LOOK_S = 0.1

REFUSALS_SHOWN = 5
"""Refused lines that are shown: a program may write any number of them."""

OF_EARLIER_ONES, OF_THIS_SESSION = 1, 2
"""Incarnations: journal files of what earlier sessions' programs told, and of what this one's first program tells."""

_EXAMPLE = "write it like: python my_runner.py --manifest {manifest}"


class CommandEngine(ProcessEngine["_CommandShard"]):
    """Runs shards by an outside program."""

    name = "command"
    facts = EngineFacts(
        can_kill=True,
        guards_library=False,
        worker_outlives_master=False,
        cannot_change={
            "concurrency": "a program says itself how many tasks it runs at once",
            "rate": "a program keeps to its limits itself",
            "pause": "a program that runs cannot be held",
        },
    )

    def __init__(self) -> None:
        self._server = ForkServerLauncher()
        super().__init__(self._server)
        self._programs_of: Counter[str] = Counter()
        """Programs so far, by shard."""
        self._waiting: list[_CommandShard] = []
        """Those that the system has refused a process."""
        self._draining = self._stopped = self._halted = False

    def check(self, wanted: WorkerCheck) -> Checked:
        """`worker` is the command. It finds our own environment."""
        program, folder = split_command(wanted.worker)[0], _folder(wanted.import_path)
        if not os.path.isdir(folder):
            raise WorkerFunctionError(
                "the folder that the run was started in is gone",
                where=folder,
                hint="put it back, or start a new run",
            )
        if shutil.which(os.path.join(folder, program) if os.path.dirname(program) else program) is None:
            raise WorkerFunctionError(
                f"there is no program {program!r}", where=repr(wanted.worker), hint="check the path, or install it"
            )
        return Checked(unset=unset(wanted.variables))

    def open(self, setup: RunSetup) -> None:
        super().open(setup)
        with must_write(setup.paths.results):
            fault_point(Point.SESSION_FOLDERS)
            setup.paths.results.mkdir(exist_ok=True)

    def room(self) -> Room:
        running = [shard.shard for shard in (*self._here, *self._waiting)]
        return self._admission.room(running)

    def launch(self, job: ShardJob) -> None:
        self._programs_of[job.shard] += 1
        shard = _CommandShard(job, OF_THIS_SESSION - 1 + self._programs_of[job.shard], self._setup)
        self._events += shard.take_in_what_is_left()
        self._start(shard)

    def _start(self, shard: _CommandShard) -> None:
        if self._draining or self._halted or not shard.open:
            self._end(shard)
            return
        tag = self._tag(shard)
        log = open_log(self._setup.paths.log(shard.shard))
        try:
            shard.log_from = os.fstat(log).st_size
            folder = _folder(self._setup.import_path)
            self._server.execute(tag, shard.command(), shard.environment(), folder, log)
        finally:
            os.close(log)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        if not self._events:
            self._server.wait(min(timeout_s, self._within(LOOK_S)))
            for shard, news in self._news():
                if isinstance(news, Born):
                    self._events.append(shard.born(news.pid))
                elif isinstance(news, Refused):
                    self._waiting.append(shard)
                    self._events += self._refusals.met(news.reason, len(self._living))
                else:
                    self._died(shard, news.status)
            if self._draining or self._halted or self._refusals.ask_again(lambda: bool(self._living)):
                waiting, self._waiting = self._waiting, []
                for shard in waiting:
                    self._start(shard)
            for pid, shard in self._living.items():
                self._events += shard.take_in()
                if shard.unusable or shard.overdue:
                    self._terminate(
                        pid, shard, shard.unusable or f"no result within the timeout of {shard.timeout_s:g} s"
                    )
            for pid, shard, held in self._over_memory():
                shard.killed_for = f"it and its child processes held {size(held)}, more than the memory limit"
                self._launcher.kill(pid, now=True)
        return self._take_events()

    def halt(self, lane: str | None) -> None:
        """What runs may end: a program cannot be told to start nothing more."""
        self._halted = self._halted or lane is None

    def allow(self, tasks: Mapping[int, int]) -> None:
        """Programs that run go on."""

    def drain(self) -> None:
        self._draining = True
        for shard in self._living.values():
            shard.deadline = time.monotonic() + self._setup.policy.drain_s
            shard.killed_for = "the run was stopped"

    def stop(self) -> None:
        self._draining = True
        again, self._stopped = self._stopped, True
        for pid, shard in self._living.items():
            shard.killed_for = "the run was stopped"
            if again:
                self._launcher.kill(pid, now=True)
            else:
                self._terminate(pid, shard, shard.killed_for)

    def close(self) -> None:
        super().close()
        for shard in self._waiting:
            shard.close()

    def _terminate(self, pid: int, shard: _CommandShard, why: str) -> None:
        """SIGTERM, once: the program has the grace to clean up before its tree is killed.

        Not if it is dead already: the launcher is about to say how it ended.
        """
        if not shard.terminated and identify(pid) is not None:
            shard.terminated = True
            shard.killed_for = shard.killed_for or why
            self._server.kill(pid, step_s=max(KILL_STEP_S, shard.grace_s))

    def _died(self, shard: _CommandShard, status: int) -> None:
        if shard.killed_for is None and self._oom.explains(status, born_at=shard.born_at):
            shard.killed_for = self._oom.told()
            self._admission.narrow(len(self._here))
        self._events += shard.died(status)
        self._end(shard)

    def _end(self, shard: _CommandShard) -> None:
        shard.close()
        self._events.append(JobEnded(job=shard.number, shard=shard.shard))


def _folder(import_path: Sequence[str]) -> str:
    """Where the program runs: where the run was started."""
    return import_path[0] if import_path else os.getcwd()


def split_command(command: str) -> list[str]:
    """The words of a command. Raises WorkerFunctionError if it cannot be split or takes no manifest."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WorkerFunctionError(f"it is not a command: {error}", where=repr(command), hint=_EXAMPLE) from None
    if not words:
        raise WorkerFunctionError("the command is empty", where=repr(command), hint=_EXAMPLE)
    if not any(MANIFEST in word for word in words):
        raise WorkerFunctionError(f"{MANIFEST} is missing from it", where=repr(command), hint=_EXAMPLE)
    return words


class _CommandShard:
    """One shard: what is open of it, and the program that runs it."""

    def __init__(self, job: ShardJob, incarnation: int, setup: RunSetup) -> None:
        self.number = job.number
        self.shard = job.shard
        self.open = {(job.ids[order.position][0], order.repeat): order.attempt for order in job.units.orders}
        """Units without a final outcome, and the number that their next attempt gets."""
        self.timeout_s = _longest(job)
        """What the program may take for a unit: it does not tell which one it is at."""
        self.grace_s = job.policy.grace_s
        self.terminated = False
        self.deadline: float | None = None
        self.killed_for: str | None = None
        self.unusable: str | None = None
        """Why its results cannot be read."""
        self.born_at = 0.0
        self.log_from = 0
        """Where its own output begins."""
        self._job = job
        self._setup = setup
        self._types = dict(job.ids)
        self._model = model_named(job.manifest.settings)
        self._pid = 0
        self._latest = time.monotonic()
        self._refused = 0
        # Two files: what an earlier program left must not count as output of this one.
        paths, session = setup.paths, setup.session
        self._file = paths.reported(job.shard, session)
        self._tail = ResultsTail(self._file, job.policy.max_result_bytes)
        self._incarnation = incarnation
        if self._incarnation > OF_THIS_SESSION:  # it has had a program, all of whose results were taken in
            self._tail.skip()
        journal = paths.worker_journal(job.shard, session, self._incarnation)
        self._journal = JournalWriter(journal, fsync=job.policy.fsync)

    def command(self) -> list[str]:
        """The program's words. It gets the plan's own manifest, or one of what is left, or one with the lane chosen."""
        paths = self._setup.paths
        units = len(self._job.ids) * self._job.manifest.repeats
        manifest = paths.plan.manifest(self.shard)
        if len(self.open) < units or self._job.lane is not None:
            left = {task for task, _ in self.open}
            tasks = [task for task in self._job.tasks(self._setup) if task.id in left]
            rest = paths.rest(self._setup.session)
            with must_write(rest.root):
                manifest = write_rest(rest, self._job.manifest, tasks)
        return [word.replace(MANIFEST, str(manifest.absolute())) for word in split_command(self._setup.worker)]

    def environment(self) -> dict[str, str]:
        """What the program finds beside its own environment."""
        return {RESULTS: str(self._file.absolute())}

    @property
    def overdue(self) -> bool:
        """No result has come for as long as one may take, or the time to drain is over."""
        now = time.monotonic()
        if self.deadline is not None:
            return now > self.deadline
        return self.timeout_s is not None and now - self._latest > self.timeout_s

    def born(self, pid: int) -> Event:
        """The program runs."""
        self._pid = pid
        self._latest = self.born_at = time.monotonic()
        return self._setup.worker_begins(self._job, self._incarnation, pid, len(self.open))

    def take_in_what_is_left(self) -> list[Event]:
        """Outcomes that a program of an earlier session wrote after its master was gone."""
        paths = self._setup.paths
        left: list[Reported] = []
        events: list[Event] = []
        for session in range(1, self._setup.session):
            file = paths.reported(self.shard, session)
            tail = ResultsTail(file, self._job.policy.max_result_bytes)
            try:
                told = [each for each in tail.new(ended=True) if self._foresees(each)]
            except Unusable as error:
                events.append(Note(text=f"{self.shard}: results of an earlier program are left out, {file}: {error}"))
                continue
            # The master writes a line of the journal for each line that it takes in, so they count each other.
            taken = 0
            for incarnation in count(OF_THIS_SESSION):
                journal = paths.worker_journal(self.shard, session, incarnation)
                if not journal.exists():
                    break
                taken += journal.read_bytes().count(b"\n")
            left += told[taken:]
        if not left:
            return events
        writer = JournalWriter(
            paths.worker_journal(self.shard, self._setup.session, OF_EARLIER_ONES), fsync=self._setup.policy.fsync
        )
        events += [event for reported in left for event in self._accept(reported, writer)]
        writer.close()
        for session in range(1, self._setup.session):
            if (file := paths.reported(self.shard, session)).is_file():
                with must_write(file):
                    fault_point(Point.FILE_RENAME)
                    file.rename(file.with_suffix(".taken"))
        return events

    def take_in(self, *, ended: bool = False) -> list[Event]:
        """What the program has reported since the last call; when it has `ended`, all of it."""
        events: list[Event] = []
        try:
            for reported in self._tail.new(ended=ended):
                self._latest = time.monotonic()
                if self._foresees(reported):
                    events += self._accept(reported, self._journal)
                else:
                    self._refused += 1
                    if self._refused <= REFUSALS_SHOWN:
                        events.append(Note(text=f"{self.shard}: {_refusal(reported)}"))
        except Unusable as error:
            self.unusable = f"its results cannot be read, {self._file}: {error}"
        cut_back(self._setup.paths.log(self.shard), self._job.policy.max_log_bytes)
        return events

    def died(self, status: int) -> list[Event]:
        """The program has ended: takes in the rest, and says what is missing."""
        events = self.take_in(ended=True)
        gone = self._setup.worker_ended(self._job, self._incarnation, self._pid, self.killed_for)
        reason = self.killed_for or describe_exit(status)
        if self.killed_for:
            events.append(WorkerLost(shard=self.shard, pid=self._pid, reason=reason, suspects=0))
        events.append(gone)
        if self._refused > REFUSALS_SHOWN:
            events.append(Note(text=f"{self.shard}: {self._refused - REFUSALS_SHOWN} further lines are not results"))
        if self.open or status != 0:
            log = self._setup.paths.log(self.shard)
            text = f"{self.shard}: its program {'was killed: ' if self.killed_for else ''}{reason}"
            left = f", {len(self.open)} of its units are without a final outcome" if self.open else ""
            said = last_line(end_of_log(log, self.log_from)) if status != 0 else ""
            events.append(Note(text=f"{text}{left}{self._nothing_told()}{said}; see {log}"))
        return events

    def _nothing_told(self) -> str:
        """Why its file has given no result at all, if so."""
        if self.unusable:
            return f"; {self.unusable}" if self.unusable != self.killed_for else ""
        if self._tail.lines == 0:
            return f"; it has written no result: it must append one line per result to the file that {RESULTS} names"
        return ""

    def close(self) -> None:
        self._journal.close()

    def _foresees(self, reported: Reported | str) -> TypeGuard[Reported]:
        """Whether it is the outcome of a unit of this shard."""
        if isinstance(reported, str):
            return False
        return reported.task in self._types and reported.repeat < self._job.manifest.repeats

    def _accept(self, reported: Reported, journal: JournalWriter) -> list[Event]:
        key = (reported.task, reported.repeat)
        late = key not in self.open
        told = msgspec.json.decode(reported.result) if reported.result is not None else None
        line = AttemptLine(
            shard=self.shard,
            task=reported.task,
            repeat=reported.repeat,
            attempt=self.open.get(key, 1),
            status=reported.status,
            started_at=round(time.time() - reported.working_s, 3),
            queued_s=0.0,
            waiting_s=0.0,
            working_s=reported.working_s,
            peak_rss=0,
            usage=usage_in({"usage": reported.usage}, self._model) or usage_in(told, self._model),
            lane=self._job.lane,
            error=reported.error,
            late=late,
            result=reported.result if reported.result is not None else NO_RESULT,
            **verdict(told)._asdict(),
        )
        journal.append(line)
        if late:
            return []
        if reported.status in FINAL:
            del self.open[key]
        else:
            self.open[key] += 1
        event = AttemptEnded.of(line, self._types[reported.task])
        return [msgspec.structs.replace(event, outcome=reported.status in FINAL)]


def _longest(job: ShardJob) -> float | None:
    limits = [job.timeout_s(order.position) for order in job.units.orders]
    known = [limit_s for limit_s in limits if limit_s is not None]
    return max(known, default=None) if len(known) == len(limits) else None


def _refusal(reported: Reported | str) -> str:
    if isinstance(reported, str):
        return reported
    return f"a result for task {shown(reported.task)}, repeat {reported.repeat}, which the shard does not have"
