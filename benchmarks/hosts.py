"""`python -m benchmarks.hosts`: one real master, and hosts that speak the real wire from a second process.

All of it crosses one machine's loopback: it shows what the master can take, not what a network gives. Exits with 0 if
everything was measured, whether or not a goal was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.goals import Goal
from benchmarks.harness import ROOT, Bench, WayFailed, make_bench, nothing_left, run_start, run_whole
from benchmarks.report import Table
from benchmarks.show import markdown, show
from benchmarks.workload import prealloc
from prealloc.model.lane import Lane
from prealloc.processes.parent import adopt_orphans
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

ABOUT = "one machine's loopback: master and hosts share its processors"
LIMIT_S = 300.0
LANE, LANE_PER_S = "k", 100_000
LEASE_S = 4.0
PATIENCE = 1.5
"""As of the master: so many leases of silence, and a host is lost."""


class Size(NamedTuple):
    hosts: int = 100
    room: int = 10
    small: int = 50_000
    """Units of 2 kB."""
    large: int = 10_000
    """Of 50 kB."""
    asks_s: float = 10.0
    lost: int = 50
    minutes: float = 10.0
    rounds: int = 3
    overhead_tasks: int = 5_000


QUICK = Size(hosts=10, room=4, small=2_000, large=400, asks_s=2.0, lost=5, minutes=0.1, rounds=1, overhead_tasks=200)


class Master:
    """One `prealloc run`, and the scripted hosts beside it."""

    def __init__(self, bench: Bench, plan: Path, folder: Path, scenario: dict[str, Any]) -> None:
        hosts = scenario["hosts"]
        words = prealloc("run", plan, "--worker", "benchmarks.noop:run", "--out", folder / "run", "--engine", "hosts")
        self._errors = folder / "master.log"
        with self._errors.open("wb") as output:
            self.process = subprocess.Popen(
                [*words, "--hosts", f"{hosts}", "--workers", f"{hosts * scenario['room']}", "--lease", f"{LEASE_S:g}s"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=dict(bench.environment),
            )
        joins = self._join_folder(hosts)
        self.before = held(self.process.pid)
        self.hosts = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scripted_hosts", joins, json.dumps(scenario)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=dict(bench.environment),
            text=True,
        )

    def hear(self, what: str) -> dict[str, Any]:
        """What the hosts have seen next."""
        assert self.hosts.stdout is not None
        said = self.hosts.stdout.readline()
        if not said:
            raise WayFailed(f"the hosts have ended before {what!r}: {self._errors.read_text()[-2000:]}")
        found: dict[str, Any] = json.loads(said)
        assert found["what"] == what, found
        return found

    def begin(self) -> None:
        """They say that they are ready."""
        assert self.hosts.stdin is not None
        self.hosts.stdin.write("\n")
        self.hosts.stdin.flush()

    def close(self) -> None:
        for each in (self.hosts, self.process):
            each.kill()
            each.wait()

    def _join_folder(self, hosts: int) -> str:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"--join\s+(\S+)/host-1\.json", self._errors.read_text())
            if found is not None and Path(found[1], f"host-{hosts}.json").exists():
                return found[1]
            time.sleep(0.01)
        raise WayFailed(f"no word of how to join: {self._errors.read_text()[-2000:]}")


@contextmanager
def master(bench: Bench, units: int, **scenario: Any) -> Iterator[Master]:
    """A run of so many units, one shard for each worker of all hosts; it is joined, and checks when it is given."""
    folder = bench.folder / "hosts"
    folder.mkdir()
    shards = scenario["hosts"] * scenario["room"] // (2 if scenario.get("lose") else 1)
    lanes = [Lane(name=LANE, shards_at_once=shards, queries_per_second=LANE_PER_S)] if "lane" in scenario else []
    tasks = [make_task(f"t{n:06}", workflow={}) for n in range(units)]
    write_plan(make_plan(tasks, shards=shards, lanes=lanes), folder / "plan")
    try:
        with nothing_left():
            made = Master(bench, folder / "plan", folder, scenario)
            try:
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(folder)


def held(pid: int) -> int:
    """Bytes that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def used_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(bench: Bench, size: Size, tell: Callable[[str], None]) -> Iterator[Goal]:
    """All figures, each against its goal, as soon as it is known."""
    hosts, room = size.hosts, size.room
    for units, line_bytes, goal in ((size.small, 2_000, 5_000), (size.large, 50_000, 1_000)):
        tell(f"{units:,} outcomes of {line_bytes // 1000} kB")
        with master(bench, units, hosts=hosts, room=room, line_bytes=line_bytes) as made:
            joined = made.hear("checked")["seconds"]
            per_host = (held(made.process.pid) - made.before) / hosts / 1000
            made.begin()
            opened = made.hear("opened")["seconds"]
            before_s = used_s(made.process.pid)
            found = made.hear("decided")
            cpu_s = used_s(made.process.pid) - before_s
            if line_bytes == 2_000:
                yield Goal(f"{hosts} hosts joined", "s", 5.0, joined)
                yield Goal("until all take shards, once they are ready", "s", 5.0, opened)
                yield Goal("the master holds for each", "kB", 350, per_host)
            per_s = found["outcomes"] / found["seconds"]
            name = f"outcomes of {line_bytes // 1000} kB each second"
            yield Goal(name, "", goal, per_s, more=True)
            yield Goal(f"{name} of the master's processor", "", goal, found["outcomes"] / cpu_s, more=True)
    tell("turns of a lane")
    with master(bench, hosts * room, hosts=hosts, room=room, asks_per_s=1000, lane=LANE, seconds=size.asks_s) as made:
        made.hear("checked")
        made.begin()
        made.hear("opened")
        turns = made.hear("turns")["seconds"]
        yield Goal(f"turn of a lane, half of {len(turns):,}", "ms", 20, 1000 * median(turns))
        yield Goal("turn of a lane, 99 of 100", "ms", 20, 1000 * turns[int(len(turns) * 0.99)])
    tell(f"{size.lost} hosts fall silent")
    with master(bench, hosts * room, hosts=hosts, room=room, lose=size.lost, decide=False) as made:
        made.hear("checked")
        made.begin()
        made.hear("opened")
        after = made.hear("again")["seconds"] - PATIENCE * LEASE_S
        yield Goal(f"{size.lost} hosts lost: their shards run, after the patience", "s", 1.0, after)
    yield from flat(bench, size, tell)
    yield from overhead(bench, size, tell)


def flat(bench: Bench, size: Size, tell: Callable[[str], None]) -> list[Goal]:
    """What the master's memory grows by while outcomes come in steadily, beside what each outcome costs anyway."""
    per_s = 500.0
    units = int(per_s * size.minutes * 60)
    tell(f"{size.minutes:g} minutes of {per_s:g} outcomes each second")
    samples: list[int] = []
    with master(bench, units, hosts=size.hosts, room=size.room, per_s=per_s) as made:
        made.hear("checked")
        made.begin()
        made.hear("opened")
        until = time.monotonic() + size.minutes * 60
        while time.monotonic() < until and made.process.poll() is None and made.hosts.poll() is None:
            samples.append(held(made.process.pid))
            time.sleep(1)
    third = max(1, len(samples) // 3)
    more = (median(samples[-third:]) - median(samples[third : 2 * third] or samples)) / 1e6
    return [Goal("memory of the master, last third over the second", "MB", 10, more)]


def overhead(bench: Bench, size: Size, tell: Callable[[str], None]) -> list[Goal]:
    """`--engine process` with one host beside `local`."""
    workers, each = (25, 20) if size.rounds > 1 else (4, 4)
    starts: dict[str, list[float]] = {"local": [], "process": []}
    rates: dict[str, list[float]] = {"local": [], "process": []}
    library, plan, noop = (bench.folder / name for name in ("library.json", "plan", "noop"))
    sample = ("library", "sample", library, "--tasks", 630, "--workflow-bytes", 84_000)
    run_whole(bench, prealloc(*sample), limit_s=LIMIT_S)
    run_whole(
        bench, prealloc("plan", library, "--shards", workers, "-n", each, "--stratify", "--out", plan), limit_s=LIMIT_S
    )
    tasks = [make_task(f"t{n:06}", workflow={}) for n in range(size.overhead_tasks)]
    write_plan(make_plan(tasks, shards=4), noop)
    for number in range(size.rounds):
        for engine, more in (("local", ()), ("process", ("--hosts", 1))):
            tell(f"beside the local engine, round {number + 1} of {size.rounds}: {engine}")
            out = bench.folder / f"{engine}-{number}"
            common = ("--engine", engine, *more, "--out")
            command = prealloc("run", plan, "--worker", "benchmarks.probe:run", *common, out)
            start = run_start(bench, [command], workers=workers, tasks=each, limit_s=LIMIT_S)
            starts[engine].append(start.seconds)
            command = prealloc("run", noop, "--worker", "benchmarks.noop:run", "--json", *common, f"{out}-noop")
            _, said = run_whole(bench, command, limit_s=LIMIT_S)
            (ended,) = (json.loads(text) for text in said.splitlines() if text.startswith('{"event":"run_ended"'))
            rates[engine].append(size.overhead_tasks / ended["duration_s"])
    later = median(starts["process"]) / median(starts["local"])
    share = median(rates["process"]) / median(rates["local"])
    return [
        Goal(f"last task's start over that of local ({median(starts['local']):.2f} s)", "x", 1.3, later),
        Goal(f"outcomes each second over those of local ({median(rates['local']):,.0f})", "x", 0.5, share, more=True),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too small for its figures to mean anything")
    parser.add_argument("--minutes", type=float, help="for how long the memory is watched (default: 10)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    if options.minutes is not None:
        size = size._replace(minutes=options.minutes)
    about = {
        "cores": f"{len(os.sched_getaffinity(0))}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "way": ABOUT,
    }
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="prealloc-bench-") as folder:
        goals: list[Goal] = []
        for goal in measure(make_bench(Path(folder)), size, tell):
            goals.append(goal)
            tell(f"  {goal.name}: {_figure(goal.measured, goal)}, {goal.verdict}")
    rows = [[goal.name, _figure(goal.goal, goal), _figure(goal.measured, goal), goal.verdict] for goal in goals]
    shown = [
        Table("Machine", ["", ""], [[name, value] for name, value in about.items()]),
        Table(f"Hosts ({ABOUT})", ["", "goal", "measured", ""], rows),
    ]
    show(shown)
    if options.quick:
        print("quick: too small for its figures to mean anything")
    if options.markdown:
        options.markdown.write_text(markdown(shown))
    return 0


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _figure(value: float | None, goal: Goal) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} {goal.unit}".strip() if value >= 100 else f"{value:.2f} {goal.unit}".strip()


if __name__ == "__main__":
    sys.exit(main())
