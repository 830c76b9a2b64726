"""Where hosts come in: the master listens, and a provider has hosts started, or people do with a file for each."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from prealloc.engines.hosts.link import Mailbox
from prealloc.engines.hosts.listener import Listener, own_addresses
from prealloc.engines.hosts.options import FOLDER, SPOOL, own_options, pairs, place
from prealloc.engines.hosts.providers.client import ProviderProcess
from prealloc.engines.hosts.providers.messages import News
from prealloc.engines.hosts.roster import RemoteHost
from prealloc.engines.hosts.shared import Shared
from prealloc.engines.hosts.spec import HostSpec, new_identity, new_token, write_spec
from prealloc.engines.hosts.turns import echo
from prealloc.errors import EngineError
from prealloc.files.atomic import must_write
from prealloc.files.temporary import temporary_folder
from prealloc.model.words import quoted

OPEN_FILES = 2**16
NO_PROVIDER = "hosts"
CLUSTERS = ("slurm", "ray", "dask")
"""Engines that start hosts on other machines than the master's."""


class Entrance:
    """Asks for hosts, and holds the tokens by which they are let in. `provider` starts them; None: somebody else."""

    def __init__(self, shared: Shared, provider: str | None) -> None:
        self._shared = shared
        self.name = provider or NO_PROVIDER
        """What the run calls the engine."""
        # It loads its modules beside whatever the master does next.
        self._provider = ProviderProcess(provider, own_options(shared.options)) if provider is not None else None
        self._listener: Listener | None = None
        self._join_files: Path | None = None
        """The folder of join files."""
        self._folders = contextlib.ExitStack()
        """Has it, until it is closed."""
        self._asked = 0
        """Hosts that were asked for: the next one's name has the next number."""
        spool = pairs(shared.options.engine_option).get(SPOOL)
        self.spools = Path(spool).absolute() / f"prealloc-{secrets.token_hex(8)}" if spool is not None else None
        """Where hosts write, if all machines are to see it."""

    # -- listening ------------------------------------------------------------------------------------------

    @property
    def mailbox(self) -> Mailbox | None:
        """What links say. None: nobody listens."""
        return self._listener.mailbox if self._listener is not None else None

    @property
    def address(self) -> str:
        """Where hosts reach the master, for people."""
        return f"{self._addresses()[0]}:{self._listener.port if self._listener is not None else 0}"

    def open(self, tell: Callable[[str], None]) -> None:
        """Listens, and asks for the hosts."""
        options = self._shared.options
        _allow_open_files()
        reply = functools.partial(echo, self._shared.roster)
        self._listener = Listener(*place(options.listen), new_identity(), reply)
        if self._provider is not None:
            self._provider.await_ready()
        for _ in range(options.hosts):
            self.ask_for_one()
        if self._provider is None and self._join_files is not None:
            many = "" if options.hosts == 1 else f" (and so on to host-{options.hosts}.json)"
            path = self._join_files / "host-1.json"
            tell(f"start the hosts, each with a file of its own{many}: prealloc host --join {quoted(path)}")

    def descriptors(self) -> list[int]:
        """Readable when there is news of a link or of the provider."""
        found = [self._listener.mailbox.fileno()] if self._listener is not None else []
        if self._provider is not None and self._provider.alive:
            found.append(self._provider.fileno())
        return found

    def strike(self, host: RemoteHost) -> None:
        """Its token lets nobody in any more."""
        if self._listener is not None:
            self._listener.strike(host.token)

    def take_listener(self) -> Listener | None:
        """From now on no host is asked for or heard. Who calls this closes it."""
        listener, self._listener = self._listener, None
        return listener

    def close(self) -> None:
        """All that was started ends. May be called twice."""
        if self._provider is not None:
            self._provider.close()
        self._folders.close()

    # -- asking ---------------------------------------------------------------------------------------------

    @property
    def can_start(self) -> bool:
        """Whether further hosts can be had."""
        return self._provider is not None and self._provider.alive

    def news(self) -> Sequence[News]:
        """What the provider reports about hosts."""
        return self._provider.news() if self._provider is not None else ()

    def ask_for_one(self) -> None:
        """One more host."""
        if self._listener is None:
            return
        self._asked += 1
        host = RemoteHost(f"host-{self._asked}", new_token())
        spec = HostSpec(
            name=host.name,
            addresses=self._addresses(),
            port=self._listener.port,
            certificate=self._listener.identity.certificate,
            token=host.token,
            lease_s=self._shared.options.lease_s,
            room=self._shared.options.room,
            spool=str(self.spools) if self.spools is not None else None,
        )
        self._shared.roster.add(host)
        self._listener.admit(host.token, host.name)
        if self._provider is not None:
            self._provider.start(host.name, spec.encoded())
        else:
            write_spec(self._join_folder() / f"{host.name}.json", spec)

    def stop(self, host: RemoteHost) -> None:
        """Has the engine that has started it end it, as far as it does."""
        if self._provider is not None:
            self._provider.stop(host.name)

    def hint(self) -> str:
        """What to do when no host comes."""
        listen = self._shared.options.listen
        if self.name in CLUSTERS and place(listen)[0] in ("127.0.0.1", "localhost", "::1"):
            return (
                f"other machines cannot reach ‹listen› {listen}: name an address of this machine that "
                "they can reach, or 0.0.0.0 for all of them"
            )
        return f"`prealloc doctor --engine {self.name}` starts one and says more"

    def _join_folder(self) -> Path:
        if self._join_files is None:
            parent = pairs(self._shared.options.engine_option).get(FOLDER)
            with must_write(parent or "a folder for join files", EngineError):
                self._join_files = self._folders.enter_context(temporary_folder("join", parent))
        return self._join_files

    def _addresses(self) -> tuple[str, ...]:
        return own_addresses(place(self._shared.options.listen)[0])


def _allow_open_files() -> None:
    """A link to each host and a file for each worker are open here: that may be more than the usual limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(most, OPEN_FILES)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
