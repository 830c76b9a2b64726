"""A master that is a job of Slurm's itself, as where login nodes end long processes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import checker
import pytest
from harness import GRACE_S, HERE, Stage
from hosts_lab import await_death, outcomes
from labs import Lab
from slurm_lab import SlurmLab
from stand_in import within

pytestmark = pytest.mark.engine

GONE_S = 30.0


def submit(lab: Lab, stage: Stage, *words: str) -> str:
    """A job that is the command. Gives its number."""
    script = f"#!/bin/sh\nexec {shlex.join([sys.executable, '-m', 'prealloc', *words, '--json'])}\n"
    asked = ["--job-name=master", "--mem=200", "--parsable", f"--chdir={HERE}", f"--output={_log(stage)}"]
    done = subprocess.run(["sbatch", *asked], input=script, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def options(lab: Lab) -> Sequence[str]:
    own = [word for name, value in lab.options.items() for word in ("--engine-option", f"{name}={value}")]
    return ("--engine", "slurm", "--hosts", "2", "--listen", "0.0.0.0", "--lease", "5s", *own)


def ends(lab: Lab, number: str) -> str:
    """The state that the job has ended in."""
    assert isinstance(lab.cluster, SlurmLab)
    cluster = lab.cluster

    def state() -> str | None:
        found = cluster.state_of(number)
        return found if found not in ("PENDING", "RUNNING", "COMPLETING") else None

    return within(state, f"the end of job {number}")


def _log(stage: Stage) -> Path:
    return stage.root / "master.out"


def test_the_master_runs_in_an_allocation(lab: Lab, stage: Stage) -> None:
    """It submits its hosts as jobs of their own, and all of them come to their ends."""
    if not isinstance(lab.cluster, SlurmLab):
        return
    stage.make_plan({f"t{n}": {"do": "ok"} for n in range(12)}, shards=4)
    grace = ("--grace", f"{GRACE_S}")
    run = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run))
    assert ends(lab, submit(lab, stage, *run, *options(lab), *grace)) == "COMPLETED", _log(stage).read_text()
    found = outcomes(stage)
    assert {str(outcome.attempt.status) for outcome in found.values()} == {"ok"}
    assert len(found) == 12
    assert {outcome.attempt.host for outcome in found.values()} == {"host-1", "host-2"}
    within(lambda: "RUNNING" not in lab.cluster.states() or None, "the end of the hosts' jobs")  # type: ignore[union-attr]


def test_a_master_whose_job_ends_goes_on_in_another(lab: Lab, stage: Stage) -> None:
    """Cancelled, or at its time limit: its hosts do not outlive it, and the rest runs when it is resumed in a job."""
    if not isinstance(lab.cluster, SlurmLab):
        return
    stage.make_plan({"g0": {"do": "gate"}, "g1": {"do": "gate"}, "t0": {"do": "ok"}}, shards=1)
    grace = ("--grace", f"{GRACE_S}")
    run = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run))
    master = submit(lab, stage, *run, *options(lab), "-c", "3", *grace)
    within(lambda: all(stage.attempts(task) for task in ("g0", "g1", "t0")) or None, "the tasks' start")
    within(lambda: len(outcomes(stage)) or None, "the first ending")
    workers = tuple({pid for task in ("g0", "g1") for pid in stage.pids(task)})
    assert checker.survivors(None, workers)
    subprocess.run(["scancel", master], check=True)
    assert ends(lab, master) == "CANCELLED"
    await_death(workers, GONE_S)
    stage.let_go()
    assert ends(lab, submit(lab, stage, "resume", str(stage.run))) == "COMPLETED", _log(stage).read_text()
    assert {unit.task: str(outcome.attempt.status) for unit, outcome in outcomes(stage).items()} == dict.fromkeys(
        ("g0", "g1", "t0"), "ok"
    )
    assert stage.attempts("t0") == 1
