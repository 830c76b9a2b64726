"""The master's side of a provider: its process, and what it tells."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

import msgspec

from prealloc.engines.hosts.providers import messages
from prealloc.engines.hosts.providers.base import check_options
from prealloc.engines.log import last_lines
from prealloc.errors import EngineError, Mistake, OptionsError
from prealloc.files.atomic import must_write
from prealloc.model.document import Unreadable, heard
from prealloc.processes.forks import forks
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.signals import born_blocked, how_it_ended
from prealloc.processes.waiting import await_end

START_S = 120.0
"""What an engine's package may take to be imported and to reach its cluster."""
_CLOSE_S = 12.0
"""A little more than the process gives itself."""
_DYING_S = 2.0
_READ = 2**16
_PRINTED = 2**20
"""Bytes of what the engine's package has printed; more is thrown away."""


class ProviderProcess:
    """One provider, in a process of its own. It never makes the master wait, but for its start and its end."""

    def __init__(self, provider: str, options: Mapping[str, str], *, look: bool = False) -> None:
        """Starts it. `look`: and has it say what is set there.

        Raises OptionsError for a provider or options that there are not.
        """
        check_options(provider, options)
        self._name = provider
        self.settings: Sequence[tuple[str, str]] = ()
        """Of the engine, for `look`: what is set, and what to do about it or nothing."""
        self._decoder: msgspec.json.Decoder[messages.FromProvider] = msgspec.json.Decoder(messages.FromProvider)
        self._heard = b""
        self._to_say = b""
        self._lost = False
        self._ready = False
        with must_write("what a provider prints", EngineError):
            self._output = tempfile.TemporaryFile("ab+")  # noqa: SIM115  # it lives as long as the process
        with born_blocked():
            self._process = subprocess.Popen(
                fresh_interpreter("from prealloc.engines.hosts.providers.__main__ import main; main()"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._output,
                bufsize=0,
            )
        pipes = (self._process.stdin, self._process.stdout)
        self._input, self._told = (pipe.fileno() for pipe in pipes if pipe is not None)
        for end in (self._input, self._told):
            os.set_blocking(end, False)
            forks.keep_from(end)
        self._say(messages.Begin(provider, dict(options), look))

    def start(self, name: str, spec: bytes) -> None:
        """Asks for one host. Started or Gone comes for it."""
        self._say(messages.Start(name, spec))

    def stop(self, name: str) -> None:
        """Asks the engine to end a host. Gone comes, or never: it is a wish."""
        self._say(messages.Stop(name))

    def news(self) -> Sequence[messages.News]:
        """What was told since the last call. Never waits. After a ProviderLost there may be more, or nothing."""
        self._go_on_saying()
        self._throw_away_prints()
        return [message for message in self._receive() if isinstance(message, messages.News)]

    def fileno(self) -> int:
        """Readable when there is news. For good once the process has ended: ask `alive` then."""
        return self._told

    @property
    def alive(self) -> bool:
        """Whether more can be told. False once `news` has said that the process has ended."""
        return not self._lost

    @property
    def pid(self) -> int:
        """Of the provider's process."""
        return self._process.pid

    def close(self) -> None:
        """Has all hosts ended, as far as the engine does, and ends the process. Called again: nothing."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        self._receive()
        if not self._ready:  # it has started nothing yet, and the engine's package may take its time
            self._end()
            return
        self._say(messages.Close())
        end = time.monotonic() + _CLOSE_S
        while self._to_say and not self._lost and time.monotonic() < end:
            self._wait(0.1)
            self._go_on_saying()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await_end(self._process, max(0.1, end - time.monotonic()))
        self._end()

    def await_ready(self) -> None:
        """Waits until it can start hosts.

        Raises OptionsError for a package that is missing or options that cannot be used, EngineError when the engine
        cannot be reached.
        """
        end = time.monotonic() + START_S
        while not self._ready:
            for message in self._receive():
                if isinstance(message, messages.Unfit) and message.mistakes:
                    raise OptionsError([Mistake(*each) for each in message.mistakes])
                if isinstance(message, messages.Unfit | messages.ProviderLost):
                    hint = f"`prealloc doctor --engine {self._name}` tells more"
                    raise EngineError(f"{self._name}: {message.reason}", hint=hint)
            if time.monotonic() > end:
                printed = last_lines(self._printed())
                raise EngineError(f"{self._name} was not reached within {START_S:g} s{printed}")
            if not self._ready:
                self._wait(end - time.monotonic())
                self._go_on_saying()

    def _wait(self, most_s: float) -> None:
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        if self._to_say:
            poll.register(self._input, select.POLLOUT)
        poll.poll(max(0.0, most_s) * 1000)

    def _say(self, message: messages.ToProvider) -> None:
        self._to_say += msgspec.json.encode(message) + b"\n"
        self._go_on_saying()

    def _go_on_saying(self) -> None:
        """A process that is stopped or busy takes nothing; the master must not wait for it."""
        try:
            while self._to_say:
                self._to_say = self._to_say[os.write(self._input, self._to_say) :]
        except BlockingIOError:
            pass
        except OSError:  # it has ended: `news` says so
            self._to_say = b""

    def _receive(self) -> list[messages.FromProvider]:
        if self._lost:
            return []
        ended = False
        try:
            while chunk := os.read(self._told, _READ):
                self._heard += chunk
            ended = True
        except BlockingIOError:
            pass
        *lines, self._heard = self._heard.split(b"\n")
        found: list[messages.FromProvider] = []
        try:
            found += [heard(self._decoder, line) for line in lines]
            for message in found:
                if isinstance(message, messages.Ready):
                    self._ready, self.settings = True, message.settings
        except Unreadable as error:
            self._process.kill()
            self._lost = True
            found.append(messages.ProviderLost(f"its process said what cannot be read: {error}"))
            return found
        if ended:
            self._lost = True
            found.append(messages.ProviderLost(self._how_it_ended()))
        return found

    def _how_it_ended(self) -> str:
        try:
            how = how_it_ended(await_end(self._process, _DYING_S))
        except subprocess.TimeoutExpired:
            how = "it has hung up"
        return f"the process that speaks to {self._name} has ended: {how}{last_lines(self._printed())}"

    def _printed(self) -> bytes:
        self._output.seek(0)
        return self._output.read()

    def _throw_away_prints(self) -> None:
        if os.fstat(self._output.fileno()).st_size > _PRINTED:
            os.ftruncate(self._output.fileno(), 0)

    def _end(self) -> None:
        self._lost = True
        for end in (self._input, self._told):
            forks.forget(end)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()
