"""When a lane starts no further task: its key is refused or used up, its server asks for too long a pause, or nothing
comes through any more.
"""

from __future__ import annotations

from prealloc.model.outcome import FORBIDDEN, KEY_REFUSED, Answer, Status
from prealloc.model.policy import NEVER_S

FORBIDDEN_IN_A_ROW = 3
"""One 403 that does not say why may be moderation. So many, with nothing that comes through in between, are the key."""


class CircuitBreaker:
    """Counts the answers and outcomes of one lane. `infra_in_a_row` None: never for that reason."""

    def __init__(self, infra_in_a_row: int | None) -> None:
        self._most = infra_in_a_row
        self._infra = 0
        self._forbidden = 0
        self._sees_answers = False
        self.reason: str | None = None
        self.key_refused = False
        """The lane halts because of its key, not of its server."""
        self.asked_to_wait = False
        """It halts because its server asks for a longer pause than a unit may wait."""

    def answered(self, answer: Answer) -> None:
        """Takes the answer to a request in its turn in."""
        self._sees_answers = True
        if answer.key_refused:
            self._refuse(f"its key was refused (HTTP {answer.http_status})")
        elif answer.http_status == FORBIDDEN:
            self._forbid()
        elif answer.came_through:
            self._forbidden = 0

    def ended(self, status: Status, http_status: int | None) -> None:
        """Takes an outcome in."""
        self._infra = self._infra + 1 if status is Status.INFRA else 0
        if status is Status.INFRA and http_status in KEY_REFUSED:
            self._refuse(f"its key was refused (HTTP {http_status})")
        elif not self._sees_answers:  # else a 403 outside a turn comes from some web page
            if status is Status.FAILED and http_status == FORBIDDEN:
                self._forbid()
            elif status is Status.OK:
                self._forbidden = 0
        if self.reason is None and self._most is not None and self._infra >= self._most:
            self.reason = f"{self._infra} infrastructure outcomes in a row"

    def paused(self, pause_s: float, max_wait_s: float) -> None:
        """Takes in that the server has asked for a pause. One that no unit may wait for ends the lane at once."""
        if pause_s >= NEVER_S:
            self._refuse("the quota of its key is used up")
        elif pause_s > max_wait_s and self.reason is None:
            self.reason = f"its server asks to wait {pause_s:,.0f} s, but max_wait is {max_wait_s:g} s"
            self.asked_to_wait = True

    def _forbid(self) -> None:
        self._forbidden += 1
        if self._forbidden >= FORBIDDEN_IN_A_ROW:
            self._refuse(f"{self._forbidden} answers in a row were HTTP {FORBIDDEN}, as for a key that is refused")

    def _refuse(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.key_refused = True
