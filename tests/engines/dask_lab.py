"""A real Dask over TLS, with certificates of both sides: a scheduler here, a worker on each of three machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from netns import Machines, end
from stand_in import within

_PORT = 8786
_TLS = "DASK_DISTRIBUTED__COMM__TLS__"
_CODE = "from distributed.cli.{0} import main; main()"


class DaskLab:
    """Four threads on each machine. Its configuration is in the environment, where clients find it too."""

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines = machines
        self.folder = folder
        self.address = f"tls://{machines.here}:{_PORT}"
        ca, certificate, key = _certificates(folder)
        os.environ |= {
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            f"{_TLS}CA_FILE": ca,
            **{f"{_TLS}{side}__CERT": certificate for side in ("SCHEDULER", "WORKER", "CLIENT")},
            **{f"{_TLS}{side}__KEY": key for side in ("SCHEDULER", "WORKER", "CLIENT")},
        }
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self.start_scheduler()
        for i in machines.numbers:
            self.start_node(i)
        self.await_nodes()

    def start_scheduler(self) -> None:
        words = ["--host", self.machines.here, "--protocol", "tls", "--port", str(_PORT), "--no-dashboard"]
        self._scheduler = self.machines.start(0, *_dask("dask_scheduler"), *words, log=self.folder / "scheduler.log")

    def kill_scheduler(self) -> None:
        end(self._scheduler)

    def restart(self) -> None:
        """Where the scheduler was killed: a new one, and new workers, since the old ones end some time later."""
        end(*self._workers.values())
        self.start_scheduler()
        for i in self.machines.numbers:
            (self.folder / f"w{i}.log").unlink()
            self.start_node(i)
        self.await_nodes()

    def await_nodes(self) -> None:
        within(lambda: self._ready() or None, "Dask's workers")

    def start_node(self, i: int) -> None:
        words = [self.address, "--host", f"tls://{self.machines.address(i)}", "--nthreads", "4", "--name", f"w{i}"]
        more = ["--local-directory", str(self.folder / f"w{i}"), "--no-dashboard"]
        log = self.folder / f"w{i}.log"
        self._workers[i] = self.machines.start(i, *_dask("dask_worker"), *words, *more, log=log)

    def _ready(self) -> bool:
        logs = [self.folder / f"w{i}.log" for i in self.machines.numbers]
        return all(log.exists() and "Registered to:" in log.read_text() for log in logs)


def _dask(program: str) -> list[str]:
    return [sys.executable, "-c", _CODE.format(program)]


def _certificates(folder: Path) -> tuple[str, str, str]:
    """Of an authority of its own: (authority, certificate, key)."""
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    ca, ca_key, wanted, made, key = (folder / name for name in ("ca.pem", "ca.key", "csr.pem", "cert.pem", "key.pem"))
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=lab-ca", "-keyout", ca_key, "-out", ca],
        [*new, "-subj", "/CN=lab", "-keyout", key, "-out", wanted],
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            wanted,
            "-CA",
            ca,
            "-CAkey",
            ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            made,
        ],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return str(ca), str(made), str(key)
