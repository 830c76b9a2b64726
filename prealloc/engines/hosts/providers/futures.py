"""Hosts through any executor of the concurrent.futures kind: loky's, mpi4py's, Parsl's, or your own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from importlib import import_module
from multiprocessing import util
from typing import Any, ClassVar

from prealloc.engines.hosts.providers.base import PYTHON, PYTHON_HELP, ProviderError, host_argv, wrong
from prealloc.engines.hosts.providers.calls import how_a_call_ended, in_its_words
from prealloc.errors import Mistake, OptionsError
from prealloc.model.words import brief

_FACTORY = "factory"
_HINT = "name a function that gives an executor, such as factory=my_module:make_executor"


class FuturesProvider:
    """Each host is a call of subprocess.run in one of the executor's workers, which waits for it."""

    options: ClassVar[Mapping[str, str]] = {
        _FACTORY: "module:function that gives an executor; the module is found in the working folder too",
        PYTHON: PYTHON_HELP,
    }
    cannot: ClassVar[str] = (
        "end a host that runs, or keep apart the deaths of workers: many executors break as a whole when one dies"
    )
    extra: ClassVar[str | None] = None
    poll_s: ClassVar[float] = 0.1

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._argv = host_argv(options)
        self._factory = _found(options)
        self._hosts: dict[str, Future[Any]] = {}
        self._executor = self._made()

    def settings(self) -> Iterable[tuple[str, str]]:
        kind = type(self._executor)
        return [(f"{kind.__module__}.{kind.__qualname__}, made by {self._options[_FACTORY]}", "")]

    def start(self, name: str, spec: bytes) -> str:
        with in_its_words("the executor refuses"):
            self._hosts[name] = self._submitted(spec)
        return f"a call in {type(self._executor).__name__}"

    def gone(self) -> Iterable[tuple[str, str]]:
        ended = [name for name, host in self._hosts.items() if host.done()]
        return [(name, how_a_call_ended(self._hosts.pop(name).result, "its executor")) for name in ended]

    def stop(self, name: str) -> None:
        if name in self._hosts:
            self._hosts[name].cancel()

    def close(self) -> None:
        for host in self._hosts.values():
            host.cancel()
        self._executor.shutdown(wait=False)
        # As an interpreter does when it exits, which this process does not: removes semaphores from /dev/shm.
        util._run_finalizers(0)  # type: ignore[attr-defined]

    def _made(self) -> Executor:
        with in_its_words("its factory raised"):
            executor: Executor = self._factory()
        if not (hasattr(executor, "submit") and hasattr(executor, "shutdown")):
            raise ProviderError(f"its factory gave a {type(executor).__name__}, which is not an executor")
        return executor

    def _submitted(self, spec: bytes) -> Future[Any]:
        try:
            return self._executor.submit(subprocess.run, self._argv, input=spec)
        except BrokenExecutor:  # by a worker that died: its futures say what it ran
            self._executor = self._made()
            return self._executor.submit(subprocess.run, self._argv, input=spec)


def _found(options: Mapping[str, str]) -> Any:
    """The factory. Raises OptionsError if there is none."""
    named = options.get(_FACTORY, "")
    module, _, function = named.partition(":")
    if not module or not function:
        if named:
            raise OptionsError([wrong(_FACTORY, named, _HINT)])
        raise OptionsError([Mistake("‹engine_option›", "futures needs the option 'factory'", _HINT)])
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionsError([wrong(_FACTORY, named, f"{brief(error)}; {_HINT}")]) from None
