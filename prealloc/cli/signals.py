"""What happens to a command that gets a signal to end while it writes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prealloc.cli.output import Stop, print_note
from prealloc.files.paths import readable_name
from prealloc.processes.signals import handled

_PUT_AWAY_S = 5.0


class _Ended(KeyboardInterrupt):
    """What Ctrl-C raises, with the signal that it was."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def ended_by_signals(*places: Path | None, nothing: str = "nothing was written") -> Iterator[None]:
    """Lets SIGINT, SIGTERM and SIGHUP end the block with everything put away, and says what was written.

    `places` are the files and folders that the block writes, each in one step at its end; `nothing` is said where
    none of them was.
    """
    first: list[float] = []

    def stop(number: int, frame: Any) -> None:
        # A terminal that closes sends several. Those that come while things are put away must not stop just that.
        if not first or time.monotonic() - first[0] > _PUT_AWAY_S:
            first[:] = [time.monotonic()]
            raise _Ended(number)

    there = [_what_is_at(place) for place in places]
    with handled(stop):
        try:
            yield
        except KeyboardInterrupt as ended:
            written = [
                readable_name(str(place))
                for place, was in zip(places, there, strict=True)
                if place is not None and _what_is_at(place) != was
            ]
            print_note(f"written whole: {', '.join(written)}" if written else nothing)
            raise Stop(128 + getattr(ended, "number", signal.SIGINT)) from None


def _what_is_at(place: Path | None) -> tuple[int, int] | None:
    try:
        status = os.stat(place) if place is not None else None
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status is not None else None
