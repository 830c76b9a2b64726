"""`python -m tests.chaos.soak`: row 27, a thousand random faults over a hundred thousand tasks, as far as time allows.

Faults come from outside (workers, fork server, master killed, stopped, interrupted) and from planted tasks. At every
death of the master and at the end all invariants are checked; master and fork server must stay flat all along.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import checker
from harness import Session, Stage
from serving import serving

from tests.chaos import flat
from tests.chaos.gate import Gate, machine, report
from tests.chaos.place import Place, tell
from tests.chaos.planted import TIMEOUT_S, make_tasks, may_end

SHARDS, WORKERS, CONCURRENCY = 8, 10, 4
"""More workers than shards: from the start, those that are free take units of the shards that are not done."""
WORK_S = 0.05
PLANTED_SHARE = 0.5
"""Of the faults; the others come from outside."""
SAMPLE_S = 1.0
STOP_S = 0.4
_EVIDENCE = 600
"""Characters of a journal's line that are shown of a task that ended as it may not."""
END_S = 300.0
"""What the last session gets to end: on a loaded machine its events lie in line behind us."""
OUTSIDE = {"worker killed": 80, "worker stopped": 6, "tree stopped": 6, "master killed": 3, "fork server killed": 2}
MASTER_LEAST_S = 45.0
"""Masters live at least this long: a slope needs time."""
MEMORY_MOST, MEMORY_SHARE, FILES_MOST = 16 * 2**20, 0.25, 12
"""Growth that is no leak: buffers, the books of what runs."""


class Soak:
    """One run, from its first session to the end of the time."""

    def __init__(
        self, stage: Stage, rng: random.Random, *, tasks: int, faults: int, until: float, worker: str, timeout_s: float
    ) -> None:
        self._stage = stage
        self._worker = worker
        self._timeout_s = timeout_s
        self._rng = rng
        self._until = until
        self._outside_due = faults - int(faults * PLANTED_SHARE)
        self._tasks = tasks
        self.told = 0
        self.faults: Counter[str] = Counter()
        self.harmed: set[str] = set()
        """Tasks that ran in a worker that was stopped: they may time out, or be blamed, by no fault of their own."""
        self.lives: dict[tuple[str, int], flat.Life] = {}
        self.broken: list[str] = []
        self.moves = 0
        """Workers that started for units of a shard while another worker of it lived."""
        self.sessions = 0
        self.complete = False
        self._seen = 0
        self._born_at = 0.0
        self._workers: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        """Sessions until the plan is done or the time is over."""
        while time.monotonic() < self._until and not self.complete:
            self._session()
        tell("all tasks are decided" if self.complete else "the time is over: the rest is not run")

    def _session(self) -> None:
        stage = self._stage
        options = ("-c", str(CONCURRENCY), "--workers", str(WORKERS), "--timeout", f"{self._timeout_s:g}")
        session = stage.resume() if stage.run.exists() else stage.start(*options, worker=self._worker)
        self.sessions += 1
        self._seen, self._workers, self._born_at = 0, {}, time.monotonic()
        sampled_at = 0.0
        while session.process.poll() is None and time.monotonic() < self._until:
            self._take_in(session)
            if time.monotonic() - sampled_at > SAMPLE_S:
                sampled_at = time.monotonic()
                self._sample(session)
            if sum(self.faults[name] for name in OUTSIDE) < self.told / self._tasks * self._outside_due:
                self._harm(session)
            time.sleep(0.02)
        if session.process.poll() is None:
            session.signal(signal.SIGINT)
        code = session.end(END_S)
        self._take_in(session)
        self.complete = code in (0, 1)
        self._check(session)

    # -- looking --------------------------------------------------------------------------------------------

    def _take_in(self, session: Session) -> None:
        events = session.events
        new, self._seen = events[self._seen :], len(events)
        for event in new:
            if event["event"] == "attempt_ended" and event["outcome"]:
                self.told += 1
                name = event["task"].partition("-")[0]
                if name != "good":
                    self.faults[f"task: {name}"] += 1
                if self.told % 2000 == 0:
                    outside = sum(self.faults[each] for each in OUTSIDE)
                    tell(f"{self.told:,} of {self._tasks:,} tasks, {self.total} faults ({outside} from outside)")
            elif event["event"] == "shard_started":
                self.moves += any(shard == event["shard"] for shard, _ in self._workers.values())
                self._workers[event["pid"]] = (event["shard"], event["units"])
            elif event["event"] in ("worker_lost", "worker_gone"):
                self._workers.pop(event["pid"], None)

    @property
    def most_workers(self) -> int:
        """A suspect runs in one of its own, and a dead one counts until the master has heard of it."""
        return max((sample.workers for life in self.lives.values() for sample in life.samples), default=0)

    @property
    def total(self) -> int:
        """Faults so far."""
        return sum(self.faults.values())

    def _sample(self, session: Session) -> None:
        server = next((flat.parent(pid) for pid in self._workers if flat.parent(pid) is not None), None)
        for name, pid in (("master", session.process.pid), ("fork server", server)):
            if pid is None or (name == "fork server" and flat.parent(pid) != session.process.pid):
                continue
            if (sample := flat.look(pid)) is not None:
                self.lives.setdefault((name, pid), flat.Life(name, pid, [])).samples.append(sample)

    # -- harming --------------------------------------------------------------------------------------------

    def _harm(self, session: Session) -> None:
        what = self._rng.choices(list(OUTSIDE), list(OUTSIDE.values()))[0]
        if what in ("master killed", "fork server killed"):
            if time.monotonic() - self._born_at < MASTER_LEAST_S:
                what = "worker killed"
            else:
                victim = session.process.pid if what == "master killed" else self._server(session)
                self._send(victim, signal.SIGKILL, what)
                return
        if what == "tree stopped":
            tree = list(self._stage.alive())
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in tree:
                    self._send(pid, number)
                time.sleep(STOP_S if number is signal.SIGSTOP else 0)
            self.faults[what] += 1
            return
        # One that runs a suspect alone is left alone: two deaths there are the task's by right.
        several = [pid for pid, (_, units) in self._workers.items() if units > 2 * CONCURRENCY]
        if several:
            victim = self._rng.choice(several)
            self._send(victim, signal.SIGKILL if what == "worker killed" else signal.SIGSTOP, what)
            if what == "worker stopped":  # looked at now that it stands still: before, other tasks were running
                self.harmed |= self._running_in(victim)

    def _server(self, session: Session) -> int:
        found = {flat.parent(pid) for pid in self._workers} - {None, session.process.pid, 1}
        return min((pid for pid in found if pid is not None and flat.parent(pid) == session.process.pid), default=0)

    def _running_in(self, pid: int) -> set[str]:
        names = (path.name.split(".") for path in self._stage.signals.glob(f"started.*.{pid}"))
        return {name[1] for name in names}

    def _send(self, pid: int, number: int, what: str | None = None) -> None:
        # A worker that has said bye is not told as lost, and its number may be anybody's by now.
        if not checker.carries(pid, self._stage.marker):
            self._workers.pop(pid, None)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if what is not None:
                self.faults[what] += 1

    # -- checking -------------------------------------------------------------------------------------------

    def _check(self, session: Session) -> None:
        self.broken += [f"session {self.sessions}: {line}" for line in checker.check(session.evidence())]

    def judge(self) -> None:
        """At the end: everything ever told is there, and each task ended as it may."""
        stage = self._stage
        for each in sorted(stage.root.glob("acknowledged.*.jsonl")):
            evidence = checker.Evidence(stage.run, each, None, "", time.monotonic(), 0.0)
            self.broken += [line for line in checker.check(evidence) if line.startswith("I1")]
        lines = [*checker.journal(stage.run, [])]
        outcomes = checker.accepted(checker.planned_units(stage.run), lines, [])
        for (_, task, _), status in outcomes.items():
            unfinished = not self.complete and status in ("not_run", "cancelled", "infra")
            if status not in may_end(task) and task not in self.harmed and not unfinished:
                known = (f"{line.file}: {line.raw[:_EVIDENCE]}" for line in lines if line.content.get("task") == task)
                self.broken.append("\n  ".join([f"{task} ended {status}", *known]))


def main() -> int:
    options = _options()
    seed: int = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    tell(f"seed {seed}")
    about = {**machine(), "seed": str(seed), "minutes": f"{options.minutes:g}"}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="prealloc-soak-") as folder:
        place = Place(Path(folder))
        with place.stage("soak") as stage:
            planted = int(options.faults * PLANTED_SHARE)
            stage.make_plan(make_tasks(options.tasks, planted, WORK_S, rng), shards=SHARDS)
            until = time.monotonic() + options.minutes * 60
            worker = "holding_agents:act" if options.holding else "agents:act"
            with _answering() if options.holding else contextlib.nullcontext():
                counts = {"tasks": options.tasks, "faults": options.faults}
                soak = Soak(stage, rng, **counts, until=until, worker=worker, timeout_s=options.timeout)
                soak.run()
            soak.judge()
    about |= {
        "tasks": f"{options.tasks:,}, " + ("all decided" if soak.complete else "not all decided when time was over"),
        "endings told before a kill": f"{soak.told:,}",
        "faults": ", ".join(f"{name} {count}" for name, count in sorted(soak.faults.items())),
    }
    done = min(1.0, soak.told / options.tasks)
    gates = [
        Gate("27", "faults met", int(0.9 * options.faults * done), "", soak.total, soak.total, least=True),
        Gate("27", "units moved to a free worker", soak.sessions, "times", soak.moves, soak.sessions, least=True),
        Gate("27", "invariants broken", 0, "", len(soak.broken), soak.sessions, f"in {soak.sessions} sessions"),
        Gate("27", "workers of a master at once", WORKERS * (CONCURRENCY + 1), "", soak.most_workers, soak.sessions),
        *(gate for name in ("master", "fork server") for gate in _flatness(name, soak)),
    ]
    return report(about, gates, [*soak.broken[:50], *place.broken], options.json)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """A server that answers with what it was asked for, over connections that stay open."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024  # all workers may connect at once; a connection that is dropped waits for seconds

        def handle_error(self, *arguments: object) -> None:
            """A client that was killed is what this is about."""

    with serving(Server(("127.0.0.1", 0), Echo)) as server:
        os.environ["HOLDING_PORT"] = str(server.server_port)
        yield


def _flatness(name: str, soak: Soak) -> list[Gate]:
    lives = [life for life in soak.lives.values() if life.name == name and life.seconds >= flat.LEAST_S]
    watched = f"{len(lives)} watched for {sum(life.seconds for life in lives):,.0f} s"

    def worst(field: str) -> flat.Life | None:
        return max(lives, key=lambda life: life.growth(field), default=None)

    memory, files = worst("bytes"), worst("files")
    least = memory.least("bytes") if memory else 0.0
    grown = f"{watched}, from {least / 1e6:.0f} MB"
    allowed = max(MEMORY_MOST, MEMORY_SHARE * least) / 1e6
    return [
        Gate("27", f"memory of the {name} grows", allowed, "MB", _growth(memory, "bytes", 1e6), len(lives), grown),
        Gate(
            "27",
            f"open files of the {name} grow, but for workers",
            FILES_MOST,
            "",
            _growth(files, "files", 1),
            len(lives),
            watched,
        ),
    ]


def _growth(life: flat.Life | None, field: str, unit: float) -> float | None:
    return None if life is None else life.growth(field) / unit


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="at most (default %(default)s)")
    parser.add_argument("--tasks", type=int, default=100_000, help="of the plan (default %(default)s)")
    parser.add_argument("--faults", type=int, default=1_000, help="over all tasks (default %(default)s)")
    parser.add_argument("--seed", type=int, help="of what is random (default: a new one, which is printed)")
    parser.add_argument(
        "--holding", action="store_true", help="with a worker module that holds a client, a thread pool and numpy"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        help="of a task, in seconds: more on a busy machine (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
