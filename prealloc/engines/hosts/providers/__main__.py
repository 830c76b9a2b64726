"""The provider's process: makes a provider, and does what the master asks of it, line by line.

The engine's own package is loaded here and not in the master: such packages replace signal handlers, start threads,
and may end the process that they are in (Ray does, when its head node is gone). It ends with the master: its standard
input closes then. It has CLOSE_S to take its hosts back from the engine, those above all that still wait in a queue.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgspec

from prealloc.engines.hosts.providers import messages
from prealloc.engines.hosts.providers.base import Provider, ProviderBusy, ProviderError, provider_class
from prealloc.errors import OptionsError
from prealloc.processes.parent import adopt_orphans
from prealloc.processes.signals import leave_to_master
from prealloc.processes.tree import end_all_below

CLOSE_S = 2
"""Of a provider whose master was killed."""
CLOSE_ASKED_S = 10
"""Of one that was asked to close."""
BUSY_S, BUSY_AGAIN_S = 60.0, 3.0
"""An engine that is busy is asked for a host again after a pause, for so long. Then it refuses."""


def main() -> None:
    """Runs until the master is gone, or asks for it."""
    lines, told = _own_descriptors()
    leave_to_master()
    adopt_orphans()
    asked: queue.SimpleQueue[messages.ToProvider | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines, asked), daemon=True).start()
    begin = asked.get()
    if isinstance(begin, messages.Begin) and (provider := _made(begin, told)) is not None:
        leave_to_master()  # again: an engine's package may have its own way with signals
        _tell(told, messages.Ready(_settings(provider) if begin.look else ()))
        _serve(provider, asked, told)
    end_all_below()  # an executor's workers, and hosts that are processes of this machine
    os._exit(0)  # whatever threads the engine's package has


def _own_descriptors() -> tuple[BinaryIO, BinaryIO]:
    """The two ends of the conversation. What an engine's package prints goes to standard error instead."""
    sys.stdout.flush()
    lines, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return lines, told


def _read(lines: BinaryIO, asked: queue.SimpleQueue[messages.ToProvider | None]) -> None:
    """Takes lines in as they come, so that the master's end never fills while the engine is slow."""
    decoder: msgspec.json.Decoder[messages.ToProvider] = msgspec.json.Decoder(messages.ToProvider)
    for line in lines:
        message = decoder.decode(line)
        if isinstance(message, messages.Close):
            # The kernel keeps this deadline: the engine's package may hang.
            signal.alarm(CLOSE_ASKED_S)
            asked.put(None)
            return
        asked.put(message)
    signal.alarm(CLOSE_S)
    asked.put(None)


def _made(begin: messages.Begin, told: BinaryIO) -> Provider | None:
    try:
        found = provider_class(begin.provider)
        return found(begin.options)  # type: ignore[call-arg]  # a protocol says nothing of how it is made
    except OptionsError as error:
        _tell(told, messages.Unfit("its options", error.mistakes))
    except ImportError as error:
        problem = f"its package cannot be imported ({error})"
        fix = f"pip install 'prealloc[{found.extra}]'" if found.extra else "see its message"
        _tell(told, messages.Unfit(problem, [("‹engine›", f"{begin.provider}: {problem}", fix)]))
    except ProviderError as error:
        _tell(told, messages.Unfit(str(error)))
    return None


def _settings(provider: Provider) -> Sequence[tuple[str, str]]:
    try:
        return [*provider.settings()]
    except ProviderError as error:
        return [(str(error), "see that the engine answers here")]


def _serve(provider: Provider, asked: queue.SimpleQueue[messages.ToProvider | None], told: BinaryIO) -> None:
    starts = Starts(provider, told)
    look_at = time.monotonic()
    lost = False
    while True:
        try:
            message = asked.get(timeout=max(0.0, min(look_at, starts.due_at) - time.monotonic()))
        except queue.Empty:
            starts.go_on()
            if time.monotonic() < look_at:
                continue
            look_at = time.monotonic() + provider.poll_s
            try:
                for name, reason in provider.gone():
                    _tell(told, messages.Gone(name, reason))
                lost = False
            except ProviderError as error:
                if not lost:
                    kind = messages.Busy if isinstance(error, ProviderBusy) else messages.ProviderLost
                    _tell(told, kind(str(error)))
                lost = True
            continue
        if message is None:
            with contextlib.suppress(ProviderError):
                provider.close()
            return
        if isinstance(message, messages.Start):
            starts.ask(message)
        elif isinstance(message, messages.Stop) and not starts.take_back(message.name):
            with contextlib.suppress(ProviderError):  # it is a wish, and a host that nobody stops ends with its lease
                provider.stop(message.name)


class Starts:
    """Hosts that were asked for, in order. An engine that is busy is asked again, for a while. `now` is for tests."""

    def __init__(self, provider: Provider, told: BinaryIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._told = told
        self._now = now
        self._waiting: deque[messages.Start] = deque()
        self._not_before = -math.inf
        self._busy_since: float | None = None

    @property
    def due_at(self) -> float:
        """When `go_on` has something to do."""
        return self._not_before if self._waiting else math.inf

    def ask(self, start: messages.Start) -> None:
        self._waiting.append(start)

    def take_back(self, name: str) -> bool:
        """Whether it was still in time."""
        before = len(self._waiting)
        self._waiting = deque(each for each in self._waiting if each.name != name)
        return len(self._waiting) < before

    def go_on(self) -> None:
        """Has the next host started, if it is time to."""
        if self._now() < self.due_at:
            return
        start = self._waiting[0]
        try:
            answer: messages.FromProvider = messages.Started(start.name, self._provider.start(start.name, start.spec))
        except ProviderBusy as error:
            now = self._now()
            if self._busy_since is None:
                self._busy_since = now
                _tell(self._told, messages.Busy(str(error)))
            if now - self._busy_since < BUSY_S:
                self._not_before = now + BUSY_AGAIN_S
                return
            answer = messages.Gone(start.name, str(error), refused=True)
        except ProviderError as error:
            answer = messages.Gone(start.name, str(error), refused=True)
        else:
            self._busy_since = None
        self._waiting.popleft()
        if not self._waiting:
            self._busy_since = None
        _tell(self._told, answer)


def _tell(told: BinaryIO, message: messages.FromProvider) -> None:
    with contextlib.suppress(OSError):  # the master is gone: the end of its lines says so
        told.write(msgspec.json.encode(message) + b"\n")
        told.flush()


if __name__ == "__main__":
    main()
