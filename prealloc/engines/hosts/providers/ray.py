"""Hosts as tasks of Ray, which places them by the resources that they ask for. Needs the extra `ray`."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from prealloc.engines.hosts.providers.base import PYTHON, PYTHON_HELP, ProviderError, amounts, host_argv
from prealloc.engines.hosts.providers.calls import how_a_call_ended, in_its_words

_KNOCK_S = 10
_NUMBERS = ("num_cpus", "num_gpus", "memory")


class RayProvider:
    """Each host is one call of subprocess.run, which Ray never tries again."""

    options: ClassVar[Mapping[str, str]] = {
        "address": "of the cluster, such as 10.0.0.1:6379; default: RAY_ADDRESS, else the cluster on this machine",
        "num_cpus": "processors of a host; default: 1",
        "num_gpus": "GPUs of a host",
        "memory": "bytes of memory of a host, which Ray counts and does not enforce",
        "resources": "further resources of a host, such as fast=1,node=0.5",
        "spread": "yes: on as many nodes as there are (the default); no: as Ray packs them",
        PYTHON: PYTHON_HELP,
    }
    cannot: ClassVar[str] = (
        "tell that a node's network is cut or that it is frozen: ray.wait says nothing of it; the lease does"
    )
    extra: ClassVar[str | None] = "ray"
    poll_s: ClassVar[float] = 0.2

    def __init__(self, options: Mapping[str, str]) -> None:
        asked: dict[str, Any] = dict(amounts(options, _NUMBERS))
        if resources := amounts(options, (), "resources"):
            asked["resources"] = resources
        if "memory" in asked:
            asked["memory"] = int(asked["memory"])
        self._argv = host_argv(options)
        self._hosts: dict[str, Any] = {}

        import ray

        self._ray = ray
        address = options.get("address", "auto")
        _knock(address)
        with in_its_words("the cluster cannot be reached"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace="prealloc")
        strategy = "DEFAULT" if options.get("spread") == "no" else "SPREAD"
        self._run = ray.remote(subprocess.run).options(max_retries=0, scheduling_strategy=strategy, **asked)

    def settings(self) -> Iterable[tuple[str, str]]:
        with in_its_words("the cluster cannot be asked"):
            nodes = sum(node["Alive"] for node in self._ray.nodes())
            there = self._ray.cluster_resources()
        encrypted = "" if os.environ.get("RAY_USE_TLS") == "1" else "not "
        return [
            (f"Ray {self._ray.__version__}", ""),
            (f"{nodes} nodes with {there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU", ""),
            (f"what crosses Ray's network is {encrypted}encrypted", ""),
        ]

    def start(self, name: str, spec: bytes) -> str:
        with in_its_words("Ray refuses"):
            self._hosts[name] = self._run.remote(self._argv, input=spec)
        return f"Ray task {self._hosts[name].task_id().hex()}"

    def gone(self) -> Iterable[tuple[str, str]]:
        if not self._hosts:
            return []
        hosts = list(self._hosts.values())
        ended, _ = self._ray.wait(hosts, num_returns=len(hosts), timeout=0, fetch_local=False)
        names = [name for name, host in self._hosts.items() if host in ended]
        return [(name, self._how_it_ended(self._hosts.pop(name))) for name in names]

    def stop(self, name: str) -> None:
        if name in self._hosts:
            self._ray.cancel(self._hosts[name], force=True)

    def close(self) -> None:
        for name in self._hosts:
            self.stop(name)
        self._ray.shutdown()

    def _how_it_ended(self, host: Any) -> str:
        return how_a_call_ended(lambda: self._ray.get(host, timeout=1), "Ray")


def _knock(address: str) -> None:
    """Raises ProviderError if nobody listens there: Ray itself goes on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
        except OSError as error:
            raise ProviderError(f"the cluster cannot be reached at {address}: {error.strerror or error}") from None
