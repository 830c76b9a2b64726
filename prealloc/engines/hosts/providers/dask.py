"""Hosts as tasks of Dask, on workers with the resources that they ask for. Needs the extra `dask`.

Certificates and the scheduler's address are taken from Dask's own configuration, where they are not given here.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from prealloc.engines.hosts.providers.base import PYTHON, PYTHON_HELP, ProviderError, amounts, host_argv
from prealloc.engines.hosts.providers.calls import how_a_call_ended, in_its_words

_CONNECT_S = 15
_SETTINGS = ("distributed.scheduler.allowed-failures", "distributed.scheduler.worker-ttl")


class DaskProvider:
    """Each host is one call of subprocess.run in a thread of a Dask worker.

    A scheduler runs a task again when its worker dies, unless `distributed.scheduler.allowed-failures` is 0 there. The
    second copy of a host is sent away by the master.
    """

    options: ClassVar[Mapping[str, str]] = {
        "address": "of the scheduler, such as tls://10.0.0.1:8786; default: Dask's configuration (scheduler-address)",
        "scheduler_file": "the file that `dask scheduler --scheduler-file` writes, instead of an address",
        "resources": "what a host needs of a worker's --resources, such as GPU=1,host=1",
        PYTHON: PYTHON_HELP,
    }
    cannot: ClassVar[str] = (
        "end a host that runs, or tell that a worker is frozen before its worker-ttl (5 minutes by default); "
        "the lease does both"
    )
    extra: ClassVar[str | None] = "dask"
    poll_s: ClassVar[float] = 0.2

    def __init__(self, options: Mapping[str, str]) -> None:
        self._resources = amounts(options, (), "resources")
        self._argv = host_argv(options)
        self._run = secrets.token_hex(4)  # a task with the same key as another one would be taken for it
        self._hosts: dict[str, Any] = {}

        import dask
        from distributed import Client

        self._config = dask.config
        where = {
            "address": options.get("address") or dask.config.get("scheduler-address", None),
            "scheduler_file": options.get("scheduler_file"),
        }
        if not any(where.values()):
            raise ProviderError("it is not known where the scheduler is: give address or scheduler_file")
        with in_its_words("the scheduler cannot be reached"):
            self._client: Any = Client(**where, timeout=_CONNECT_S, set_as_default=False, name="prealloc")

    def settings(self) -> Iterable[tuple[str, str]]:
        with in_its_words("the scheduler cannot be asked"):
            failures, ttl = (self._client.run_on_scheduler(self._config.get, name) for name in _SETTINGS)
            threads = self._client.nthreads().values()
        hint = "set it to 0 for the scheduler: else it runs a host again when its worker dies, for nothing"
        encrypted = "" if self._client.scheduler.address.startswith("tls://") else "not "
        return [
            (f"{_SETTINGS[0]} {failures}", hint if failures else ""),
            (f"{_SETTINGS[1]} {ttl}", ""),
            (f"{len(threads)} workers with {sum(threads)} threads", ""),
            (f"what crosses Dask's network is {encrypted}encrypted", ""),
        ]

    def start(self, name: str, spec: bytes) -> str:
        key = f"prealloc-{self._run}-{name}"
        asked = {"pure": False, "retries": 0, "resources": self._resources or None}
        with in_its_words("Dask refuses"):
            self._hosts[name] = self._client.submit(subprocess.run, self._argv, input=spec, key=key, **asked)
        return f"Dask task {key}"

    def gone(self) -> Iterable[tuple[str, str]]:
        if self._hosts and self._client.status != "running":
            # Dask then calls all tasks cancelled, while their workers live on for half a minute.
            self._hosts.clear()
            raise ProviderError(f"the connection to the scheduler is lost (the client is {self._client.status})")
        ended = [name for name, host in self._hosts.items() if host.done()]
        return [(name, self._how_it_ended(self._hosts.pop(name))) for name in ended]

    def stop(self, name: str) -> None:
        if name in self._hosts:
            self._hosts[name].cancel(force=True)

    def close(self) -> None:
        for name in self._hosts:
            self.stop(name)
        self._client.close(timeout=1)

    def _how_it_ended(self, host: Any) -> str:
        return how_a_call_ended(lambda: host.result(timeout=1), "Dask")
