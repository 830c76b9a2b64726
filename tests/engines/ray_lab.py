"""A real Ray: a head without processors here, a node on each of three machines, with tokens as it is by default."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

from netns import Machines, end
from stand_in import within

_PORT = 6390
"""Not within 10002 to 19999, which are the workers'."""
_BEFORE_S = 240
"""On a busy machine. A node gives up by itself after 30 s, and is started again."""
_STORE = "--object-store-memory=100000000"
_STARTED = "Ray runtime started"


class RayLab:
    """Two processors on each machine."""

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines = machines
        self.folder = folder
        self.address = f"{machines.here}:{_PORT}"
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._start()

    def _start(self) -> None:
        self.start_scheduler()
        self._await("head.log")
        for i in self.machines.numbers:
            self.start_node(i)
        self.await_nodes()

    def restart(self) -> None:
        """Where the head was killed: nothing outlives it."""
        for i in self.machines.numbers:
            self.machines.kill(i)
        self._start()

    def await_nodes(self) -> None:
        for i in self.machines.numbers:
            self._await(f"node{i}.log", i)

    def kill_node_daemon(self, i: int) -> None:
        """Its raylet: what it has started ends with it."""
        for pid in self.machines.pids(i):
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/raylet"):
                os.kill(pid, signal.SIGKILL)
        self._nodes[i].wait()

    def start_scheduler(self) -> None:
        words = ["--head", f"--node-ip-address={self.machines.here}", f"--port={_PORT}", "--num-cpus=0", _STORE]
        more = ["--include-dashboard=false", f"--temp-dir={self.folder}/head", "--disable-usage-stats", "--block"]
        (self.folder / "head.log").unlink(missing_ok=True)
        self._head = self.machines.start(0, _ray(), "start", *words, *more, log=self.folder / "head.log")

    def kill_scheduler(self) -> None:
        """The head's processes: GCS and raylet."""
        end(self._head)

    def start_node(self, i: int) -> None:
        words = [f"--address={self.address}", f"--node-ip-address={self.machines.address(i)}", "--num-cpus=2", _STORE]
        more = ["--disable-usage-stats", "--block"]
        (self.folder / f"node{i}.log").unlink(missing_ok=True)
        self._nodes[i] = self.machines.start(i, _ray(), "start", *words, *more, log=self.folder / f"node{i}.log")

    def _await(self, log: str, i: int | None = None) -> None:
        def has_started() -> bool | None:
            if i is not None and self._nodes[i].poll() is not None:
                self.start_node(i)
            return _STARTED in (self.folder / log).read_text() or None

        within(has_started, f"Ray's {log}", _BEFORE_S)


def _ray() -> str:
    return str(Path(sys.executable).parent / "ray")
