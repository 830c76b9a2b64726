"""What a provider is: it has an engine start hosts, and passes on what the engine says of their end.

A host is a process `prealloc host` on some machine. Results, deadlines and limits never go through a provider: what
an engine says of a death is a hint, and a host's own link to the master decides (see the table in docs/clusters.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol, cast

from prealloc.errors import Mistake, OptionsError

PROVIDERS = {
    "dask": "prealloc.engines.hosts.providers.dask:DaskProvider",
    "futures": "prealloc.engines.hosts.providers.futures:FuturesProvider",
    "process": "prealloc.engines.hosts.providers.process:ProcessProvider",
    "ray": "prealloc.engines.hosts.providers.ray:RayProvider",
    "slurm": "prealloc.engines.hosts.providers.slurm:SlurmProvider",
}
"""The providers by name. Their modules import the engine's own package only when a provider is made."""

PYTHON = "python"
"""The option that every provider has."""
PYTHON_HELP = "the Python interpreter on the hosts, with prealloc installed; default: the path of this one"


class ProviderError(Exception):
    """The engine refuses, in its own words."""


class ProviderBusy(ProviderError):
    """It may agree a moment later: its scheduler does not answer, or has too much to do."""


class Provider(Protocol):
    """Made with its options, in the provider's process. One thread calls it."""

    options: ClassVar[Mapping[str, str]]
    """The options that it has, with a help text each."""
    cannot: ClassVar[str]
    """What this engine cannot do, in one line."""
    extra: ClassVar[str | None]
    """The extra of prealloc's that brings the engine's package."""
    poll_s: ClassVar[float]
    """How often `gone` is called."""

    def settings(self) -> Iterable[tuple[str, str]]:
        """What matters of the engine's settings: what is set, and what to do about it or nothing.

        Raises ProviderError.
        """
        ...

    def start(self, name: str, spec: bytes) -> str:
        """Has one host started that is given this spec, and says what people find it by there.

        The spec holds a key, so it goes to the host's standard input, or through a file that only its owner can read.
        Raises ProviderError, and for what is worth another try ProviderBusy: then it is called again, and if the engine
        had taken the host in all the same, the second one is sent away by the master.
        """
        ...

    def gone(self) -> Iterable[tuple[str, str]]:
        """(name, reason) of the hosts whose end the engine has told since the last call. Raises ProviderError."""
        ...

    def stop(self, name: str) -> None:
        """Asks the engine to end a host. It may be gone already."""
        ...

    def close(self) -> None:
        """Asks the engine to end all hosts, those too that wait in its queue, and lets go of it."""
        ...


def host_argv(options: Mapping[str, str], join: Path | None = None) -> list[str]:
    """The command that starts a host, which ends with the process that starts it.

    Its spec is in the file `join`, or comes on its standard input.
    """
    command = [options.get(PYTHON, sys.executable), "-P", "-m", "prealloc.engines.hosts.start"]
    return command if join is None else [*command, "--with-parent", "--join", str(join)]


def provider_class(name: str) -> type[Provider]:
    """The provider of this name. Raises OptionsError if there is none."""
    if name not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise OptionsError([Mistake("‹engine_option›", f"there is no provider {name!r}", f"use one of {known}")])
    module, _, found = PROVIDERS[name].partition(":")
    return cast("type[Provider]", getattr(import_module(module), found))


def check_options(name: str, options: Mapping[str, str]) -> None:
    """Raises OptionsError for the options that the provider does not have."""
    known = provider_class(name).options
    unknown = sorted(options.keys() - known.keys())
    hint = f"{name} has: {', '.join(sorted(known))}"
    if unknown:
        raise OptionsError([Mistake("‹engine_option›", f"{name} has no option {each!r}", hint) for each in unknown])


def wrong(option: str, value: str, hint: str) -> Mistake:
    """The mistake of an option whose value cannot be used."""
    return Mistake("‹engine_option›", f"{option}={value!r} cannot be used", hint)


def amounts(options: Mapping[str, str], names: Sequence[str], pairs: str | None = None) -> dict[str, float]:
    """The options of these names that are given, as numbers, and what the option `pairs` holds: `a=1,b=0.5`.

    Raises OptionsError for what is not such a number.
    """
    given = [(name, name, options[name]) for name in names if name in options]
    for pair in filter(None, options.get(pairs or "", "").split(",")):
        name, _, value = pair.partition("=")
        given.append((str(pairs), name.strip(), value))
    found: dict[str, float] = {}
    mistakes: list[Mistake] = []
    for option, name, value in given:
        try:
            found[name] = float(value)
        except ValueError:
            mistakes.append(
                wrong(option, options[option], "give numbers, such as num_cpus=4 or resources=node=1,fast=0.5")
            )
    if mistakes:
        raise OptionsError(mistakes)
    return found
