"""A real Slurm: munged, slurmctld here, one slurmd on each of three machines. Debian's slurm-wlm and munge."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from netns import Machines, end
from stand_in import within

_CONF = """
ClusterName=lab
SlurmctldHost={host}({here})
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1,sched_min_interval=100000
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=3
MinJobAge=300
ReturnToService=2
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
"""


class SlurmLab:
    """One node on each machine."""

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines = machines
        self.folder = folder
        self.conf = folder / "slurm.conf"
        for each in ("state", "spool"):
            (folder / each).mkdir()
        for i in machines.numbers:
            (folder / f"spool/n{i}").mkdir()
        nodes = "\n".join(
            f"NodeName=n{i} NodeHostname={machines.name(i)} NodeAddr={machines.address(i)} Port={18000 + i} CPUs=4 "
            "Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN"
            for i in machines.numbers
        )
        name = socket.gethostname().split(".")[0]
        text = _CONF.format(host=name, here=machines.here, port=_free_port(), folder=folder, nodes=nodes)
        self.conf.write_text(text)
        os.environ["SLURM_CONF"] = str(self.conf)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        machines.start(
            0,
            "munged",
            "--foreground",
            "--force",
            f"--socket={folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={folder}/munged.pid",
            f"--seed-file={folder}/munged.seed",
            f"--log-file={folder}/munged.log",
            log=folder / "munged.out",
        )
        within(lambda: (folder / "munge.socket").exists() or None, "munged")
        self.start_scheduler()
        self._slurmd: dict[int, subprocess.Popen[bytes]] = {}
        for i in machines.numbers:
            self.start_node(i)
        self.await_nodes()

    def start_scheduler(self) -> None:
        self._slurmctld = self.machines.start(
            0, "slurmctld", "-D", "-f", str(self.conf), log=self.folder / "slurmctld.log"
        )

    def kill_scheduler(self) -> None:
        end(self._slurmctld)

    def start_node(self, i: int) -> None:
        log = self.folder / f"slurmd.n{i}.log"
        self._slurmd[i] = self.machines.start(i, "slurmd", "-D", "-N", f"n{i}", "-f", str(self.conf), log=log)

    def restart(self) -> None:
        """Where the scheduler was killed: it knows what it knew."""
        self.start_scheduler()
        self.await_nodes()

    def kill_node_daemon(self, i: int) -> None:
        """slurmd alone: what it has started lives on."""
        os.kill(self._slurmd[i].pid, signal.SIGKILL)
        self._slurmd[i].wait()

    def await_nodes(self) -> None:
        """Until all of them can run something."""
        within(lambda: self._ready() or None, "Slurm's nodes")

    def await_saved(self) -> None:
        """Until the scheduler has written down what jobs there are now: it does so some seconds after any change."""
        now = time.time()
        subprocess.run(["sbatch", "--hold", "--mem=1", "--wrap=true"], check=True, capture_output=True)
        within(lambda: (self.folder / "state/job_state").stat().st_mtime > now or None, "a saved state")

    def states(self) -> list[str]:
        """Of all jobs that it knows."""
        return _said("squeue", "--noheader", "--states=all", "--format=%T").split()

    def state_of(self, job: str) -> str:
        return _said("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").strip()

    def _ready(self) -> bool:
        said = _said("sinfo", "--noheader", "--Node", "--format=%t").split()
        return len(said) == self.machines.count and {*said} <= {"idle", "mix", "alloc", "comp"}


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
