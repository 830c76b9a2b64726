"""A real Ray: a head without processors here, a node on each of three machines, with tokens as it is by default."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from netns import Machines, end

_PORT = 6390
"""Not within 10002 to 19999, which are the workers'."""
_BEFORE_S = 90
_STORE = "--object-store-memory=100000000"
_WAIT = """
import ray, sys, time
address, nodes, before_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + before_s
while time.monotonic() < end:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        break
    except ConnectionError:
        time.sleep(0.2)
while sum(node["Alive"] for node in ray.nodes()) < nodes:
    assert time.monotonic() < end, ray.nodes()
    time.sleep(0.1)
"""


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
        self.start_scheduler()
        for i in machines.numbers:
            self.start_node(i)
        nodes = len(machines.numbers) + 1
        subprocess.run([sys.executable, "-c", _WAIT, self.address, str(nodes), str(_BEFORE_S)], check=True)

    def start_scheduler(self) -> None:
        words = ["--head", f"--node-ip-address={self.machines.here}", f"--port={_PORT}", "--num-cpus=0", _STORE]
        more = ["--include-dashboard=false", f"--temp-dir={self.folder}/head", "--disable-usage-stats", "--block"]
        self._head = self.machines.start(0, _ray(), "start", *words, *more, log=self.folder / "head.log")

    def kill_scheduler(self) -> None:
        """The head's processes: GCS and raylet."""
        end(self._head)

    def start_node(self, i: int) -> None:
        words = [f"--address={self.address}", f"--node-ip-address={self.machines.address(i)}", "--num-cpus=2", _STORE]
        more = ["--disable-usage-stats", "--block"]
        self._nodes[i] = self.machines.start(i, _ray(), "start", *words, *more, log=self.folder / f"node{i}.log")


def _ray() -> str:
    return str(Path(sys.executable).parent / "ray")
