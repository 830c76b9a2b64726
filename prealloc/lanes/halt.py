"""When a lane starts no further task: its key is refused, or nothing comes through any more."""

from __future__ import annotations

from prealloc.model.outcome import UNAUTHORIZED, Status


class Halt:
    """Counts the outcomes of one lane. `infra_in_a_row` None: never for that reason."""

    def __init__(self, infra_in_a_row: int | None) -> None:
        self._most = infra_in_a_row
        self._in_a_row = 0
        self.reason: str | None = None

    def ended(self, status: Status, http_status: int | None) -> bool:
        """Takes an outcome in. True: the lane halts now, for `reason`."""
        if self.reason is not None:
            return False
        self._in_a_row = self._in_a_row + 1 if status is Status.INFRA else 0
        if http_status == UNAUTHORIZED:
            self.reason = "its key was refused (HTTP 401)"
        elif self._most is not None and self._in_a_row >= self._most:
            self.reason = f"{self._in_a_row} infrastructure outcomes in a row"
        return self.reason is not None
