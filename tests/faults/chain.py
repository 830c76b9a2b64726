"""One run that meets one fault after another at the same point, and is gone on with after each."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import checker
from harness import Session, Stage

import prealloc
from prealloc.api.plans import verify
from prealloc.files.faultpoint import Point
from prealloc.model.lane import Lane

WORKERS = 2
UNITS = 40
CUT_BYTES = 65 * 2**20
"""More than RunPolicy.max_log_bytes: such a log is cut."""

IN_WORKER = frozenset(
    {
        Point.WORKER_OPEN,
        Point.WORKER_APPEND,
        Point.WORKER_FSYNC,
        Point.WORKER_BORN,
        Point.WORKER_READY,
        Point.ATTEMPT_OFF,
        Point.ATTEMPT_FINISHED,
        Point.ATTEMPT_OVERDUE,
        Point.ATTEMPT_WRITTEN,
        Point.ATTEMPT_LANDED,
        Point.ATTEMPT_TOLD,
        Point.WORKER_RETIRING,
        Point.WORKER_RETIRED,
        Point.WORKER_HANDING_BACK,
        Point.WORKER_HANDED_BACK,
        Point.WORKER_BYE,
        Point.WORKER_BYE_SAID,
    }
)
DEADLY = ("deadly", "untidy")
"""Scenarios with a task that kills its workers."""
HARMLESS = frozenset({Point.PRIVATE_FOLDER, Point.PRIVATE_SECRET, Point.LANE_WRITE, Point.TELEMETRY_WRITE})
"""What the disk refuses here stops nothing: lanes are then not shared with other runs, pictures have a gap."""
IN_HOST = frozenset({Point.SPOOL_RECEIVE})
"""A host meets it, and another one comes in its place."""
NO_HOST = frozenset({Point.TEMPORARY_MAKE, Point.SPOOL_FOLDERS})
REPLICA = frozenset(
    {
        *NO_HOST,
        Point.SPOOL_NOTE,
        Point.REPLICA_OPEN,
        Point.REPLICA_APPEND,
        Point.REPLICA_FSYNC,
        Point.REPLICA_TOLD,
    }
)
"""Where the run stops: no host can be had, or what hosts say cannot be written."""
IN_FORK_SERVER = frozenset({Point.FORK_ASKED, Point.FORK_FORKED, Point.FORK_REAPED})

OK = {"do": "ok", "s": 0.005}


class Scenario(NamedTuple):
    """A plan that passes certain points, and how its run ends when nothing is in its way."""

    tasks: Mapping[str, Any]
    census: Mapping[str, int]
    options: tuple[str, ...] = ()
    worker: str = "agents:act"
    lanes: tuple[Lane, ...] = ()
    again: tuple[str, ...] = ()
    """Tasks that every session opens and runs again."""
    resume: tuple[str, ...] = ()
    """Options of each resume."""

    @property
    def exit_code(self) -> int:
        return 0 if set(self.census) == {"ok"} else 1


def _beside(count: int, **others: Any) -> dict[str, Any]:
    return {**others, **{f"t{number:02}": OK for number in range(count)}}


SCENARIOS = {
    "plain": Scenario(_beside(UNITS), {"ok": UNITS}, ("--fsync",)),
    "deadly": Scenario(_beside(9, poison={"do": "kill_self"}), {"ok": 9, "crashed": 1}),
    "untidy": Scenario(
        _beside(9, poison={"do": "kill_self"}), {"ok": 9, "crashed": 1}, ("--cleanup", "cleaning:sweep")
    ),
    "hang": Scenario(_beside(9, hang={"do": "sleep"}), {"ok": 9, "timeout": 1}, ("--timeout", "0.4")),
    "spy": Scenario(_beside(9, spy={"do": "open_library", "how": "open"}), {"ok": 10}),
    "noisy": Scenario(_beside(9), {"ok": 9}, worker="noisy_import:act"),
    "long log": Scenario(_beside(UNITS), {"ok": UNITS}),
    "reused": Scenario(_beside(9), {"ok": 9}),
    "moved": Scenario({f"t{number}": {"do": "ok", "s": 0.6} for number in range(8)}, {"ok": 8}, ("--workers", "4")),
    "lanes": Scenario(_beside(9), {"ok": 9}, lanes=(Lane(name="k", shards_at_once=WORKERS),)),
    "experiment": Scenario(_beside(9), {"ok": 9}),
    "hosts": Scenario(_beside(UNITS), {"ok": UNITS}, ("--fsync", "--engine", "process", "--lease", "5s")),
    "spool": Scenario(_beside(9), {"ok": 9}, ("--engine", "process", "--engine-option", "spool=spool")),
    "reopened": Scenario(
        _beside(9, bad={"do": "fail"}),
        {"ok": 9, "failed": 1},
        again=("bad",),
        resume=("--error", "ValueError", "--max-failures", "1"),
    ),
}


class Case(NamedTuple):
    """A point, and the faults that one run meets there in turn."""

    point: Point
    actions: tuple[str, ...]
    scenario: str = "plain"
    passage: int = 1
    concurrency: int = 1

    @property
    def name(self) -> str:
        return f"{self.point}, {' '.join(self.actions)}, {self.scenario}, c{self.concurrency}"


def run_chain(case: Case, root: Path) -> None:
    """Meets the case's faults one after another, then ends the run in peace. Asserts the laws after each."""
    stage = Stage(root)
    try:
        _Chain(case, stage).run()
    finally:
        stage.clean_up()


class _Chain:
    def __init__(self, case: Case, stage: Stage) -> None:
        self._case = case
        self._stage = stage
        self._scenario = SCENARIOS[case.scenario]
        tasks = dict(self._scenario.tasks)
        if "spy" in tasks:
            tasks["spy"] = {**tasks["spy"], "path": str(stage.library)}
        stage.make_plan(tasks, shards=WORKERS, lanes=self._scenario.lanes)

    def run(self) -> None:
        self._prepare()
        for action in self._case.actions:
            self._faulted(action)
        self._in_peace()

    def _prepare(self) -> None:
        if self._case.scenario == "long log":
            session = self._session(f"{Point.SESSION_FOLDERS}:1:kill")
            assert session.end() is None
            for shard in range(WORKERS):
                with (self._stage.run / "logs" / f"shard-{shard:02}.log").open("wb") as file:
                    file.truncate(CUT_BYTES)
        elif self._case.scenario == "experiment":
            self._stage.run = self._stage.root / "exp" / "runs" / "0001"
        elif self._case.scenario == "reopened":
            assert self._session(None).end() == 1
        elif self._case.scenario == "reused":
            ended = prealloc.run(self._stage.plan, "agents:act", self._stage.root / "before", engine="inline")
            assert ended.exit_code == 0
            for trace in self._stage.signals.iterdir():
                trace.unlink()

    def _faulted(self, action: str) -> None:
        case = self._case
        before, starts = self.final(), self.starts()
        session = self._session(f"{case.point}:{case.passage}:{action}")
        code = session.end()
        assert session.passed(case.point) >= case.passage, f"the fault was not met: {session.output()[-2000:]}"
        assert code == self._expected(action), f"{action}: exit code {code}: {session.output()[-3000:]}"
        self._check(session, before, starts)
        ran = self.starts() - starts
        if code == self._scenario.exit_code and code is not None:
            # The run went on: innocents that ran beside the one that died have run again, and nobody else.
            assert sum(ran.values()) <= len(ran) + self._blamed()
            killed = [event for event in session.of("worker_lost") if "SIGKILL" in event["reason"]]
            if case.point in IN_HOST:
                assert session.of("host_lost")
            elif case.point is Point.TELEMETRY_WRITE:
                assert not killed  # and nothing is said: nobody misses a line of it
            elif case.point in HARMLESS:
                assert [note for note in session.of("note") if "by itself, whatever other runs do" in note["text"]]
            else:
                is_missed = case.point is not Point.WORKER_BYE_SAID  # who has said bye is not
                assert killed or not is_missed, "nobody has died"
        else:
            in_flight = [task for task in ran if task not in self.final()]
            workers = 4 if case.scenario == "moved" else WORKERS
            # What a host had ended and nobody had acknowledged runs again, too.
            assert case.scenario == "hosts" or len(in_flight) <= workers * case.concurrency + self._blamed()
        assert not self._left_beside() or code is None, f"left behind: {self._left_beside()}"

    def _expected(self, action: str) -> int | None:
        if self._case.point in NO_HOST:
            return 3
        if action in ("EIO", "ENOSPC"):
            return self._scenario.exit_code if self._case.point in HARMLESS | IN_HOST else 3
        if action == "kill-master" or self._case.point not in IN_WORKER | IN_FORK_SERVER | IN_HOST:
            return None
        return 3 if self._case.point in IN_FORK_SERVER else self._scenario.exit_code

    def _blamed(self) -> int:
        """Further starts that a fault in a worker, or the scenario's own poison, may cause."""
        return self._case.concurrency + (3 * self._case.concurrency if self._case.scenario in DEADLY else 0)

    def _in_peace(self) -> None:
        before, starts = self.final(), self.starts()
        session = self._session(None)
        assert session.end() == self._scenario.exit_code, session.output()[-3000:]
        assert session.census == self._scenario.census
        self._check(session, before, starts)
        if self._case.scenario not in (*DEADLY, "reused"):  # a poison starts several times; what is reused, never
            ran = {task: count for task, count in (self.starts() - starts).items() if count}
            assert ran == {
                task: 1 for task in self._scenario.tasks if task not in before or task in self._scenario.again
            }

    def _session(self, faults: str | None) -> Session:
        stage, case = self._stage, self._case
        if (stage.run / "run.json").exists():
            return stage.resume(*self._scenario.resume, faults=faults)
        assert not stage.run.exists(), "a run folder that is not whole"
        more = ("--reuse", str(stage.root / "before")) if case.scenario == "reused" else ()
        options = ("-c", str(case.concurrency), "--workers", str(WORKERS), *self._scenario.options, *more)
        if case.scenario == "experiment":
            return stage.join("--experiment", str(stage.root / "exp"), *options, faults=faults)
        return stage.start(*options, worker=self._scenario.worker, faults=faults)

    def _check(self, session: Session, before: Mapping[str, bytes], starts: Counter[str]) -> None:
        """The six invariants; and no outcome that was on disk is changed, or made again."""
        if not self._stage.run.exists():
            assert session.exit_code in (3, None)
            return
        self._stage.check(session)
        after = self.final()
        assert {task: after.get(task) for task in before} == before
        again = [task for task in {*before} - {*self._scenario.again} if self.starts()[task] != starts[task]]
        assert not again, f"final, and started again: {again}"

    # -- looking --------------------------------------------------------------------------------------------

    def final(self) -> dict[str, bytes]:
        """The first final line of each task, as it stands on disk."""
        found: dict[str, bytes] = {}
        if (self._stage.run / "journal").exists():
            for line in checker.journal(self._stage.run, []):
                content = line.content
                if "kind" not in content and not content.get("late") and content["status"] in checker.FINAL:
                    found.setdefault(content["task"], line.raw.encode())
        return found

    def starts(self) -> Counter[str]:
        """How often each task has really started."""
        return Counter(name.split(".")[1] for name in os.listdir(self._stage.signals) if name.startswith("started."))

    def _left_beside(self) -> list[str]:
        """Half-made folders beside the run's."""
        return [path.name for path in self._stage.root.glob(".run.*")]


def plan_chain(case: Case, root: Path) -> None:
    """The same for `prealloc plan`: it is there whole, or as it was, after each fault."""
    stage = Stage(root)
    try:
        rows = [{"id": f"t{number}", "task_type": "simple_task", "workflow": {}} for number in range(8)]
        stage.library.write_text(json.dumps({"tasks": rows}))
        old = _plan(stage, "--force", "--seed", "1") if case.scenario == "replaced" else None
        for action in case.actions:
            session = _plan(stage, "--force", "--seed", "2", faults=f"{case.point}:{case.passage}:{action}")
            assert session.passed(case.point) >= case.passage
            assert session.exit_code == (None if action == "kill" else 3), session.output()
            assert "Traceback" not in session.output()
            assert stage.plan.exists() == (old is not None)
            assert old is None or verify(stage.plan) is not None
            assert action == "kill" or not list(stage.root.glob(".plan.*"))
        assert _plan(stage, "--force", "--seed", "2").exit_code == 0
        verify(stage.plan)
    finally:
        stage.clean_up()


def _plan(stage: Stage, *options: str, faults: str | None = None) -> Session:
    words = ("plan", str(stage.library), "--shards", "2", "--all", "--out", str(stage.plan), *options)
    session = stage.command(*words, faults=faults)
    session.end()
    return session
