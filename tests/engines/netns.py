"""Machines for tests: network namespaces on one bridge, each with an address and a host name of its own.

Needs root and `ip` (Debian's iproute2). Their network is 10.77.N.0/24 for the first N that is free, so that several of
them can be up at once. Nothing outside of them is changed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

_MOST = 200


class Machines:
    """`count` of them, numbered from 1; this machine is on their network too, at `here`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._number = next(number for number in range(_MOST) if _ip("link", "add", f"pb{number}", "type", "bridge"))
        self.here = f"10.77.{self._number}.1"
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        bridge = f"pb{self._number}"
        _must("addr", "add", f"{self.here}/24", "dev", bridge)
        _must("link", "set", bridge, "up")
        for i in self.numbers:
            space, wire = self.name(i), self._wire(i)
            _must("netns", "add", space)
            _must("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
            _must("link", "set", wire, "master", bridge, "up")
            _must("-n", space, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
            _must("-n", space, "link", "set", "eth0", "up")
            _must("-n", space, "link", "set", "lo", "up")

    @property
    def numbers(self) -> Sequence[int]:
        return range(1, self.count + 1)

    def name(self, i: int) -> str:
        """Of the namespace, and the host name in it."""
        return f"ph{self._number}n{i}"

    def address(self, i: int) -> str:
        return f"10.77.{self._number}.{10 + i}"

    def inside(self, i: int, *command: str) -> list[str]:
        """The command, so that it runs on that machine."""
        script = f'hostname {self.name(i)} && exec "$@"'
        # Not `ip netns exec`: that mounts another /sys, without the control groups that slurmd looks for.
        space = f"--net=/run/netns/{self.name(i)}"
        return ["nsenter", space, "unshare", "--uts", "sh", "-c", script, "sh", *command]

    def program(self, path: Path, command: str) -> str:
        """Makes a program that runs the command with its own arguments, on one machine or another."""
        name = self.name(0).removesuffix("0")
        path.write_text(
            f"#!/bin/sh\ni={name}$(($$ % {self.count} + 1))\n"
            f"exec nsenter --net=/run/netns/$i unshare --uts sh -c 'hostname '$i' && exec \"$@\"' sh {command} \"$@\"\n"
        )
        path.chmod(0o755)
        return str(path)

    def start(self, i: int, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Starts a daemon there, in a session of its own; 0 is this machine. `close` ends it."""
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                self.inside(i, *command) if i else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        return daemon

    def pids(self, i: int) -> list[int]:
        """What runs there."""
        found = subprocess.run(["ip", "netns", "pids", self.name(i)], capture_output=True, text=True, check=False)
        return [int(each) for each in found.stdout.split()]

    def signal(self, i: int, number: int) -> None:
        """To all that runs there."""
        for pid in self.pids(i):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, i: int) -> None:
        """Power off: everything there is gone."""
        self.signal(i, signal.SIGKILL)

    def freeze(self, i: int) -> None:
        self.signal(i, signal.SIGSTOP)

    def thaw(self, i: int) -> None:
        self.signal(i, signal.SIGCONT)

    def cut(self, i: int) -> None:
        """Takes the machine off the network."""
        _must("link", "set", self._wire(i), "down")

    def heal(self, i: int) -> None:
        _must("link", "set", self._wire(i), "up")

    def sent(self, i: int) -> int:
        """Bytes that have gone to it so far."""
        return int(Path(f"/sys/class/net/{self._wire(i)}/statistics/tx_bytes").read_text())

    def close(self) -> None:
        for i in self.numbers:
            self.kill(i)
            _ip("link", "del", self._wire(i))  # by name: what the end of a namespace does comes later
            _ip("netns", "del", self.name(i))
        end(*self._daemons)
        _ip("link", "del", f"pb{self._number}")

    def _wire(self, i: int) -> str:
        return f"pv{self._number}n{i}"


def end(*daemons: subprocess.Popen[bytes]) -> None:
    """Kills them and what they have started in their sessions."""
    for daemon in daemons:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


def _must(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
