"""What crosses between the master and a provider's process: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=str.lower):
    """The root of both directions."""


class Begin(Message, frozen=True):
    """The first line: which provider it is to be."""

    provider: str
    options: Mapping[str, str]
    look: bool = False
    """Say what matters of the engine's settings, too."""


class Start(Message, frozen=True):
    """Have a host started."""

    name: str
    spec: bytes


class Stop(Message, frozen=True):
    """Have a host ended."""

    name: str


class Close(Message, frozen=True):
    """End all hosts, and this process. At the end of the lines, too, but then within CLOSE_S."""


ToProvider = Begin | Start | Stop | Close


class Ready(Message, frozen=True):
    """The provider is made: it can start hosts."""

    settings: Sequence[tuple[str, str]] = ()
    """Of the engine, if they are asked for: what is set, and what to do about it or nothing."""


class Unfit(Message, frozen=True):
    """It cannot be made."""

    reason: str
    mistakes: Sequence[tuple[str, str, str]] = ()
    """Of the options, if it is them: where, what, how to fix it."""


class Started(Message, frozen=True):
    """The engine has taken a host in; it may wait in the engine's queue."""

    name: str
    handle: str
    """What people find it by in the engine: `Slurm job 17`."""


class Gone(Message, frozen=True):
    """The engine says that a host has ended. A hint: the host may live on."""

    name: str
    reason: str
    refused: bool = False
    """The engine has not even taken it in: another one would be refused likewise."""


class Busy(Message, frozen=True):
    """The engine takes nothing in for now. Hosts that it was asked for come when it does; those that run live on."""

    reason: str


class ProviderLost(Message, frozen=True):
    """The engine cannot be reached, so no host can be had. Those that run may live on."""

    reason: str


FromProvider = Ready | Unfit | Started | Gone | Busy | ProviderLost
News = Started | Gone | Busy | ProviderLost
