"""How a host looks from the master's side, for `prealloc doctor`."""

from __future__ import annotations

from typing import NamedTuple

from prealloc.engines.hosts.roster import RemoteHost


class Seen(NamedTuple):
    """A host as it is seen from here."""

    name: str
    machine: str
    handle: str | None
    address: str
    """Where it has reached the master."""
    rtt_s: float
    wall_s: float
    """What its wall clock is ahead of ours."""
    spool_left: int
    python: str
    version: str

    @classmethod
    def of(cls, host: RemoteHost, address: str) -> Seen | None:
        """None: it has not said enough yet."""
        hi, beat = host.hi, host.beat
        if hi is None or beat is None or beat.rtt_s is None:
            return None
        return cls(
            host.name,
            hi.machine,
            host.handle,
            address,
            beat.rtt_s,
            beat.wall_s,
            beat.spool_left,
            hi.python,
            hi.version,
        )
