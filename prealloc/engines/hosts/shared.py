"""What the parts of the hosts engine share: the hosts, the session once there is one, and what it will report."""

from __future__ import annotations

import math

from prealloc.engines.base import RunSetup
from prealloc.engines.hosts.roster import Roster
from prealloc.model.events import Event
from prealloc.model.policy import EngineOptions

TURN_S = 0.1
"""The engine looks after its hosts at least this often."""


class Shared:
    """Each part is given this one object. What is not in here, one part owns alone."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.roster = Roster()
        self.setup: RunSetup | None = None
        """Of the session. None: it has not begun, and the run can still be refused."""
        self.opened_at = -math.inf
        """When the session has begun."""
        self.events: list[Event] = []
        """What the master has not heard yet."""
        self.stopping = False
        """The session ends: no host is replaced."""

    @property
    def session(self) -> RunSetup:
        """The setup, for what is done in a session alone."""
        assert self.setup is not None  # noqa: S101  # narrows the type: no event comes before it
        return self.setup

    def tell(self, *events: Event) -> None:
        self.events += events

    def take_events(self) -> list[Event]:
        """What there is to tell since the last call."""
        events, self.events = self.events, []
        return events
