"""Starts one host by an engine, and tells what was found there and on the way to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prealloc.doctor.finding import Finding, ok, problem, refused, warning
from prealloc.engines.base import WorkerCheck
from prealloc.engines.hosts.engine import HostsEngine
from prealloc.engines.hosts.options import own_options
from prealloc.engines.hosts.providers.base import PROVIDERS, provider_class
from prealloc.engines.hosts.providers.client import ProviderProcess
from prealloc.engines.hosts.roster import Seen
from prealloc.errors import PreallocError
from prealloc.model.policy import EngineOptions
from prealloc.model.words import size

SLOW_S = 0.02
"""From here on, a lane with a limit per second cannot be kept full over the link."""
CLOCK_S = 5.0
LEAST_ROOM = 2**30


def check_hosts(
    name: str, options: EngineOptions, worker: str, import_path: tuple[str, ...], variables: tuple[str, ...]
) -> list[Finding]:
    """What a run with this engine would meet. Takes as long as the engine takes to start a host."""
    provider = name if name in PROVIDERS else None
    found: list[Finding] = []
    with contextlib.closing(HostsEngine(provider, options)) as engine:
        began = time.monotonic()
        try:
            checked = engine.check(WorkerCheck(worker, import_path, variables=variables))
            seen = engine.look()
        except PreallocError as error:
            return [refused("host", error), *_of_the_engine(name, options)]
        took_s = time.monotonic() - began
        found.append(ok("host", f"{seen.name} on {seen.machine} was here after {took_s:.1f} s ({seen.handle or name})"))
        found += _of_the_host(seen, engine.address)
        found.append(ok("worker", "; ".join([f"{worker} is imported there", *checked.notes])))
        found += [
            problem("key", f"{each} is not set there", f"add ‹pass_env› {each}, or set it on the hosts")
            for each in checked.unset
        ]
        if engine.facts.worker_outlives_master:
            told = f"without a word from here a host ends after {options.lease_s:g} s, with all that it runs"
            found.append(ok("lease", told))
        if variables and not checked.unset:
            found.append(ok("key", f"set there: {', '.join(variables)}"))
    return [*found, *_of_the_engine(name, options)]


def _of_the_host(seen: Seen, address: str) -> Iterator[Finding]:
    told = f"{address}, {seen.rtt_s * 1000:.1f} ms there and back"
    if seen.rtt_s > SLOW_S:
        hint = "give lanes limits per minute rather than per second, or run the master nearer to the hosts"
        yield warning("link", told, hint)
    else:
        yield ok("link", told)
    if abs(seen.wall_s) > CLOCK_S:
        hint = "set the clock there: times in the journal are by it; no limit goes by it"
        yield warning("clock", f"its clock is {seen.wall_s:+.1f} s from this one", hint)
    else:
        yield ok("clock", f"its clock is {seen.wall_s:+.3f} s from this one")
    room = f"{size(seen.spool_left)} are free where it writes"
    if seen.spool_left < LEAST_ROOM:
        yield warning("spool", room, "set TMPDIR there to a larger place, or ‹engine_option› spool=FOLDER")
    else:
        yield ok("spool", room)
    yield ok("versions", f"Python {seen.python}, prealloc {seen.version}")


def _of_the_engine(name: str, options: EngineOptions) -> Iterator[Finding]:
    """What the engine cannot do, and what is set there; the engine's package is loaded by the provider's process."""
    if name not in PROVIDERS:
        return
    yield ok("cannot", provider_class(name).cannot)
    try:
        with contextlib.closing(ProviderProcess(name, own_options(options), look=True)) as provider:
            provider.await_ready()
            found = provider.settings
    except PreallocError:
        return  # no host came either, and that is told
    yield from (warning("settings", told, hint) if hint else ok("settings", told) for told, hint in found)
