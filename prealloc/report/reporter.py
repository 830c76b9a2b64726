"""What every reporter is, and writing that a closed pipe does not break."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Protocol, Self

from prealloc.model.events import Event
from prealloc.report.progress import RunProgress


class Reporter(Protocol):
    """Shows a run while it goes on.

    Whoever drives one enters it, hands it every event in order, and calls `tick` a few times per second,
    events or none: that is when things are drawn. Leaving it draws the end.
    """

    progress: RunProgress

    def __enter__(self) -> Self: ...

    def handle(self, event: Event) -> None:
        """Takes an event in. Cheap: may be called thousands of times per second."""

    def tick(self, now_s: float) -> None:
        """Draws, if it is time to. `now_s` is the clock that the reporter was made with."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


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
