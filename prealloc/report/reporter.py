"""What every reporter is, and writing that a closed pipe does not break."""

from __future__ import annotations

from typing import IO, Self

from prealloc.model.events import Event


class Reporter:
    """Shows a run while it goes on: an Observer to be entered before the run, and left when it has ended."""

    def __enter__(self) -> Self:
        return self

    def handle(self, event: Event, /) -> None:
        """Takes an event in."""

    def tick(self, now_s: float, /) -> None:
        """Draws, if it is time to."""

    def close(self) -> None:
        """Draws the end."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Stream:
    """Writes to a stream until that fails, then no more.

    `prealloc run ... | head` closes the pipe, a full disk refuses a log: neither is a reason to stop a run
    whose results are safe in its journal. `broken` keeps the reason.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.broken: OSError | ValueError | None = None

    def write(self, text: str) -> None:
        """Writes and flushes. The text ends with its own newline."""
        if self.broken is not None:
            return
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode("ascii", "backslashreplace").decode())
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.broken = error
