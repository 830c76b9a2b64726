"""Hosts that a test starts by itself from join files, each behind a wire that it can cut."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import checker
from harness import PATIENCE_S, Session, Stage, start_process, wait_until

from prealloc.engines.hosts.spec import HostSpec, read_spec
from prealloc.files.paths import RunPaths
from prealloc.model.plan import Unit
from prealloc.store.fold import fold


class Wire:
    """Carries connections to a port of this machine, unless it is cut: then nothing comes through, silently."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._flows.clear()

    def heal(self) -> None:
        self._flows.set()

    def drop(self) -> None:
        """Ends the connections that there are; new ones come through."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.drop()
        self.heal()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._flows.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        self._open += [near, far]
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        threading.Thread(target=self._carry, args=(far, near), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while raw := source.recv(65536):
                self._flows.wait()
                sink.sendall(raw)
        self._flows.wait()
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class HostProcess:
    """One `prealloc host`."""

    def __init__(
        self,
        lab: HostsLab,
        spec: HostSpec,
        environment: Mapping[str, str],
        own: Mapping[str, Any],
        *,
        direct: bool,
        wrap: Sequence[str],
    ) -> None:
        self.name = spec.name
        self.wire = Wire(spec.port)
        copies = len(list(lab.stage.root.glob(f"{spec.name}.*.json")))
        self.join = lab.stage.root / f"{spec.name}.{copies}.json"
        at = {} if direct else {"addresses": ["127.0.0.1"], "port": self.wire.port}
        self.join.write_text(json.dumps({**json.loads(spec.encoded()), **at, **own}))
        self._errors = self.join.with_suffix(".stderr")
        marker = dict([lab.stage.marker.split("=")])
        with self._errors.open("wb") as errors:
            words = ["host", "--join", str(self.join)]
            self.process = start_process(words, wrap, {**marker, **environment}, errors)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tree(self) -> tuple[int, ...]:
        """It and all that it has started."""
        return (self.pid, *descendants(self.pid))

    def kill(self) -> None:
        self.process.kill()

    def freeze(self) -> tuple[int, ...]:
        """Stops the machine: the host, and all that runs on it."""
        stopped = self.tree()
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return stopped

    @staticmethod
    def thaw(stopped: tuple[int, ...]) -> None:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def words(self) -> str:
        """What it has printed."""
        return self._errors.read_text(errors="replace")

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.wire.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


class HostsLab:
    """One run that waits for hosts, and the hosts."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.hosts: list[HostProcess] = []

    def start(self, hosts: int, *options: str, lease: str = "30s", **more: str) -> Session:
        """`prealloc run` for so many hosts that somebody else starts."""
        return self.stage.start("--engine", "hosts", "--hosts", f"{hosts}", "--lease", lease, *options, **more)

    def join(
        self,
        session: Session,
        name: str,
        environment: Mapping[str, str] | None = None,
        *,
        direct: bool = False,
        wrap: Sequence[str] = (),
        **own: Any,
    ) -> HostProcess:
        """Starts the host of this name. `direct`: without a wire; `wrap`: the command that starts Python where it is to
        run; `own`: what its file says otherwise.
        """
        spec = self.spec(session, name)
        made = HostProcess(self, spec, environment or {}, own, direct=direct, wrap=wrap)
        self.hosts.append(made)
        return made

    def all_join(self, session: Session, hosts: int) -> list[HostProcess]:
        """Starts them, and waits until they are there."""
        made = [self.join(session, f"host-{number}") for number in range(1, hosts + 1)]
        for host in made:
            session.wait_for("host_joined", host=host.name)
        return made

    def spec(self, session: Session, name: str) -> HostSpec:
        """How the host of this name joins."""
        folder = join_folder(session)
        path = folder / f"{name}.json"
        wait_until(path.exists, f"{path.name}: {session.output()}")
        return read_spec(path.read_bytes(), str(path))

    def close(self) -> None:
        for host in self.hosts:
            host.close()


def join_folder(session: Session) -> Path:
    """Where the run has written how to join."""
    found = r"prealloc host --join (\S+)/host-1\.json"
    wait_until(lambda: re.search(found, session.output()), f"word of how to join: {session.output()}")
    match = re.search(found, session.output())
    assert match is not None
    return Path(match[1])


@contextmanager
def hosts_lab(stage: Stage) -> Iterator[HostsLab]:
    """Hosts for a stage, which end with the block."""
    lab = HostsLab(stage)
    try:
        yield lab
    finally:
        lab.close()


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(name))
    found, ask = [], [pid]
    while ask:
        below = children.get(ask.pop(), [])
        found += below
        ask += below
    return found


def await_death(pids: tuple[int, ...], within_s: float) -> float:
    """Until none of these is alive; gives how long that took."""
    began = time.monotonic()
    while alive := checker.survivors(None, pids):
        assert time.monotonic() < began + within_s, f"alive after {within_s:g} s: {alive}"
        time.sleep(0.01)
    return time.monotonic() - began


def owner(pid: int) -> int:
    """The host that a worker belongs to: it has started the worker's fork server."""
    return parent_of(parent_of(pid))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ended_in(journal: Path) -> set[str]:
    """Tasks that have an ending in a host's own journal."""
    lines = [line for path in journal.glob("*.jsonl") for line in Stage.lines(path)]
    return {line["task"] for line in lines if "kind" not in line}


def outcomes(stage: Stage) -> dict[Unit, Any]:
    """Each unit that has one, by the fold of what is on the disk now."""
    units = [Unit(*unit) for unit in checker.planned_units(stage.run)]
    states = fold(RunPaths(stage.run), units).units
    return {unit: state.latest for unit, state in states.items() if state.latest is not None}
