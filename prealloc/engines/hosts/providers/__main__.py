"""The provider's process: makes a provider, and does what the master asks of it, line by line.

The engine's own package is loaded here and not in the master: such packages replace signal handlers, start threads,
and may end the process that they are in (Ray does, when its head node is gone). It ends with the master: its standard
input closes then. It has CLOSE_S to take its hosts back from the engine, those above all that still wait in a queue.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from prealloc.engines.hosts.providers.base import Provider, ProviderError, provider_class
from prealloc.engines.hosts.providers.messages import (
    Begin,
    Close,
    FromProvider,
    Gone,
    ProviderLost,
    Ready,
    Start,
    Started,
    Stop,
    ToProvider,
    Unfit,
)
from prealloc.errors import OptionsError
from prealloc.processes.parent import adopt_orphans
from prealloc.processes.signals import leave_to_master
from prealloc.processes.tree import end_all_below

CLOSE_S = 2
"""Of a provider whose master was killed."""
CLOSE_ASKED_S = 10
"""Of one that was asked to close."""


def main() -> None:
    """Runs until the master is gone, or asks for it."""
    lines, told = _own_descriptors()
    leave_to_master()
    adopt_orphans()
    asked: queue.SimpleQueue[ToProvider | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines, asked), daemon=True).start()
    begin = asked.get()
    if isinstance(begin, Begin) and (provider := _made(begin, told)) is not None:
        leave_to_master()  # again: an engine's package may have its own way with signals
        _tell(told, Ready(_settings(provider) if begin.look else ()))
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


def _read(lines: BinaryIO, asked: queue.SimpleQueue[ToProvider | None]) -> None:
    """Takes lines in as they come, so that the master's end never fills while the engine is slow."""
    decoder: msgspec.json.Decoder[ToProvider] = msgspec.json.Decoder(ToProvider)
    for line in lines:
        message = decoder.decode(line)
        if isinstance(message, Close):
            # The kernel keeps this deadline: the engine's package may hang.
            signal.alarm(CLOSE_ASKED_S)
            asked.put(None)
            return
        asked.put(message)
    signal.alarm(CLOSE_S)
    asked.put(None)


def _made(begin: Begin, told: BinaryIO) -> Provider | None:
    try:
        found = provider_class(begin.provider)
        return found(begin.options)  # type: ignore[call-arg]  # a protocol says nothing of how it is made
    except OptionsError as error:
        _tell(told, Unfit("its options", error.mistakes))
    except ImportError as error:
        problem = f"its package cannot be imported ({error})"
        fix = f"pip install 'prealloc[{found.extra}]'" if found.extra else "see its message"
        _tell(told, Unfit(problem, [("‹engine›", f"{begin.provider}: {problem}", fix)]))
    except ProviderError as error:
        _tell(told, Unfit(str(error)))
    return None


def _settings(provider: Provider) -> Sequence[tuple[str, str]]:
    try:
        return [*provider.settings()]
    except ProviderError as error:
        return [(str(error), "see that the engine answers here")]


def _serve(provider: Provider, asked: queue.SimpleQueue[ToProvider | None], told: BinaryIO) -> None:
    look_at = time.monotonic()
    lost = False
    while True:
        try:
            message = asked.get(timeout=max(0.0, look_at - time.monotonic()))
        except queue.Empty:
            look_at = time.monotonic() + provider.poll_s
            try:
                for name, reason in provider.gone():
                    _tell(told, Gone(name, reason))
                lost = False
            except ProviderError as error:
                if not lost:
                    _tell(told, ProviderLost(str(error)))
                lost = True
            continue
        if message is None:
            with contextlib.suppress(ProviderError):
                provider.close()
            return
        _do(provider, message, told)


def _do(provider: Provider, message: ToProvider, told: BinaryIO) -> None:
    try:
        if isinstance(message, Start):
            _tell(told, Started(message.name, provider.start(message.name, message.spec)))
        elif isinstance(message, Stop):
            provider.stop(message.name)
    except ProviderError as error:
        if isinstance(message, Start):  # a stop is a wish, and a host that nobody stops ends with its lease
            _tell(told, Gone(message.name, str(error), refused=True))


def _tell(told: BinaryIO, message: FromProvider) -> None:
    with contextlib.suppress(OSError):  # the master is gone: the end of its lines says so
        told.write(msgspec.json.encode(message) + b"\n")
        told.flush()


if __name__ == "__main__":
    main()
