"""What the options of engines beyond one machine say, and what is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from prealloc.engines.hosts.providers.base import check_options as check_own
from prealloc.engines.hosts.providers.base import provider_class
from prealloc.engines.hosts.ship import refuse_unfit
from prealloc.errors import Mistake, OptionsError
from prealloc.model.policy import EngineOptions

SPOOL = "spool"
"""The option of every engine: a folder that all machines share, where hosts write."""
LEAST_LEASE_S = 2.0
FOLDER = "folder"
"""Of hosts that somebody else starts: where their join files are written, in a folder that is removed at the end."""


def pairs(options: Iterable[str]) -> dict[str, str]:
    """Options of the engine's own. Raises OptionsError."""
    given = list(options)
    wrong = [each for each in given if "=" not in each]
    if wrong:
        raise OptionsError([Mistake("‹engine_option›", f"{each!r} has no =", "write NAME=VALUE") for each in wrong])
    return {name: value for name, _, value in (each.partition("=") for each in given)}


def own_options(options: EngineOptions) -> dict[str, str]:
    """Those that the provider knows. Raises OptionsError."""
    found = pairs(options.engine_option)
    found.pop(SPOOL, None)
    return found


def place(listen: str) -> tuple[str, int]:
    """Address and port: `10.0.0.1`, `10.0.0.1:7000`, `[::1]:7000`; the port is 0 if none is named."""
    if listen.startswith("["):
        address, _, rest = listen[1:].partition("]")
        return address, int(rest[1:]) if rest[1:].isdigit() else 0
    address, colon, port = listen.rpartition(":")
    if colon and port.isdigit() and ":" not in address:
        return address, int(port)
    return listen, 0


def _several_in_one(provider: str | None, options: Iterable[str]) -> Iterator[Mistake]:
    """Values have commas of their own, so several options in one text would be taken for one."""
    known = [*provider_class(provider).options] if provider is not None else [FOLDER]
    for each in options:
        if len(parts := re.split(rf",\s*(?=(?:{'|'.join([*known, SPOOL])})=)", each)) > 1:
            hint = f"give each by itself: {' '.join(f'‹engine_option› {part}' for part in parts)}"
            yield Mistake("‹engine_option›", f"{each!r} names several options", hint)


def check_options(provider: str | None, options: EngineOptions) -> None:
    """Raises OptionsError with all that can be told before anything is started."""
    found = [*_several_in_one(provider, options.engine_option)]
    try:
        own = own_options(options)
        if provider is not None:
            check_own(provider, own)
        elif own.keys() - {FOLDER}:
            problem = "hosts that somebody else starts have no option"
            found += [Mistake("‹engine_option›", f"{problem} {name}", "omit it") for name in own.keys() - {FOLDER}]
    except OptionsError as error:
        found += error.mistakes
    found += [
        Mistake(f"‹pass_env› {name}", "it is not set here", "set it here, or omit it")
        for name in options.pass_env
        if name not in os.environ
    ]
    if options.ship is not None:
        found += refuse_unfit(Path(options.ship))
    if options.lease_s < LEAST_LEASE_S:
        hint = f"give {LEAST_LEASE_S:g} s or more"
        found.append(Mistake("‹lease_s›", "a host says something once a second, so it would often be given up", hint))
    if place(options.listen)[1] > 65535:
        found.append(Mistake("‹listen›", "there is no such port", "name one from 1 to 65535, or none"))
    if found:
        raise OptionsError(found)
