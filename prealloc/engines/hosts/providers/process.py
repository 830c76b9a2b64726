"""Hosts as processes of this machine: to try things out, and for tests."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import IO, ClassVar

from prealloc.engines.hosts.providers.base import PYTHON, PYTHON_HELP, ProviderError, host_argv
from prealloc.engines.log import end_of, last_line
from prealloc.processes.signals import how_it_ended
from prealloc.processes.waiting import await_end

_ENDING_S = 1.0
"""What a host gets between SIGTERM and SIGKILL."""


class ProcessProvider:
    """Each host is a child of the provider's process, in a session of its own: Ctrl-C is the master's to hear."""

    options: ClassVar[Mapping[str, str]] = {PYTHON: PYTHON_HELP}
    cannot: ClassVar[str] = "bring in another machine: its hosts share this one's processors and memory"
    extra: ClassVar[str | None] = None
    poll_s: ClassVar[float] = 0.05

    def __init__(self, options: Mapping[str, str]) -> None:
        self._argv = host_argv(options)
        # It loads its modules while the master gets ready to have it in.
        self._first: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None
        with contextlib.suppress(OSError):  # told when a host is asked for
            self._first = self._spawned()
        self._hosts: dict[str, subprocess.Popen[bytes]] = {}
        self._printed: dict[str, IO[bytes]] = {}
        """On their standard error."""
        self._ending: dict[str, float] = {}
        """By name, when SIGKILL is due."""

    def settings(self) -> Iterable[tuple[str, str]]:
        return ()

    def start(self, name: str, spec: bytes) -> str:
        try:
            (host, printed), self._first = self._first or self._spawned(), None
        except OSError as error:
            raise ProviderError(f"{self._argv[0]} cannot be started: {error.strerror}") from None
        self._hosts[name], self._printed[name] = host, printed
        if host.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended: `gone` tells
                host.stdin.write(spec)
                host.stdin.close()
        return f"process {host.pid}"

    def _spawned(self) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        """A host that waits for its spec, and what it prints on its standard error."""
        printed = tempfile.TemporaryFile("ab+")  # noqa: SIM115  # until its end
        return subprocess.Popen(self._argv, stdin=subprocess.PIPE, stderr=printed, start_new_session=True), printed

    def gone(self) -> Iterable[tuple[str, str]]:
        for name in [name for name, due in self._ending.items() if time.monotonic() > due]:
            self._hosts[name].kill()
        ended = {name: code for name, host in self._hosts.items() if (code := host.poll()) is not None}
        for name in ended:
            del self._hosts[name]
            self._ending.pop(name, None)
        return [(name, f"{how_it_ended(code)}{self._last_line(name)}") for name, code in ended.items()]

    def _last_line(self, name: str) -> str:
        with self._printed.pop(name) as file:
            return last_line(end_of(file))

    def stop(self, name: str) -> None:
        if name in self._hosts and name not in self._ending:
            self._hosts[name].terminate()
            self._ending[name] = time.monotonic() + _ENDING_S

    def close(self) -> None:
        if self._first is not None:
            self._first[0].kill()
            self._first[0].wait()
        for name in self._hosts:
            self.stop(name)
        end = time.monotonic() + _ENDING_S
        for host in self._hosts.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                await_end(host, max(0.0, end - time.monotonic()))
            host.kill()
            host.wait()
