"""Rows D4 and D5 on real engines: a node's daemon or the scheduler is killed while hosts run."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Session, Stage, wait_until
from hosts_lab import owner
from labs import Lab
from ray_lab import RayLab
from slurm_lab import SlurmLab
from stand_in import within

pytestmark = pytest.mark.engine

TASKS = {"g0": {"do": "gate"}, "g1": {"do": "gate"}}
REACHED_S = 90
"""What an engine may take to tell that a daemon is gone, and the run to end without it."""


def start(stage: Stage, lab: Lab, hosts: int) -> Session:
    """A run of one shard, whose tasks run by now."""
    stage.make_plan(TASKS, shards=1)
    own = [word for name, value in lab.options.items() for word in ("--engine-option", f"{name}={value}")]
    session = stage.start("--engine", lab.engine, "--hosts", f"{hosts}", "--listen", lab.here, "-c", "2", *own)
    within(lambda: (stage.attempts("g0") and stage.attempts("g1")) or None, "the tasks' start")
    return session


def test_a_daemon_of_a_node_is_killed(lab: Lab, stage: Stage) -> None:
    """D4: Slurm tells that a job has failed, which runs on; Ray ends it with its node. Nothing is accepted twice."""
    cluster, machines = lab.cluster, lab.machines
    if not isinstance(cluster, SlurmLab | RayLab) or machines is None:
        return
    session = start(stage, lab, 2)
    (pid,) = stage.pids("g0")
    (node,) = (i for i in machines.numbers if pid in machines.pids(i))
    cluster.kill_node_daemon(node)
    try:
        if isinstance(cluster, SlurmLab):
            within(lambda: "NODE_FAIL" in cluster.states() or None, "word that the job has failed", REACHED_S)
        else:
            within(lambda: stage.attempts("g0") == 2 or None, "a start elsewhere", REACHED_S)
        stage.let_go()
        assert session.wait(REACHED_S) == 0
    finally:
        cluster.start_node(node)
        cluster.await_nodes()
    assert session.census == {"ok": 2}
    assert {stage.attempts(task) for task in TASKS} == ({1} if isinstance(cluster, SlurmLab) else {2})
    stage.check(session)


def test_the_scheduler_is_killed(lab: Lab, stage: Stage) -> None:
    """D5: the master lives on, what runs comes to its end, and nothing of it runs again."""
    if lab.cluster is None:
        return
    session = start(stage, lab, 1)
    lab.cluster.kill_scheduler()
    try:
        if lab.engine == "dask":
            wait_until(lambda: "no further host can be started" in session.output(), "word that the scheduler is gone")
        stage.let_go()
        assert session.wait(REACHED_S) == 0
    finally:
        lab.cluster.restart()
    assert session.census == {"ok": 2}
    assert {stage.attempts(task) for task in TASKS} == {1}
    stage.check(session)


def test_a_scheduler_that_comes_back_knows_its_jobs(lab: Lab, stage: Stage) -> None:
    """D5: Slurm's is killed and started again. A host that is lost later has another one in its place, as ever."""
    if not isinstance(lab.cluster, SlurmLab):
        return
    session = start(stage, lab, 1)
    lab.cluster.await_saved()
    lab.cluster.kill_scheduler()
    lab.cluster.restart()
    assert "RUNNING" in lab.cluster.states()
    os.kill(owner(stage.pids("g0")[0]), signal.SIGKILL)
    within(lambda: stage.attempts("g0") == 2 or None, "a start in another job", REACHED_S)
    stage.let_go()
    assert session.wait(REACHED_S) == 0
    assert session.census == {"ok": 2}
    assert "host-2" in {told["host"] for told in session.of("host_joined")}
    stage.check(session)
