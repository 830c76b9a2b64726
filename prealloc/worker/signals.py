"""What the processes below a master make of signals. Those that ask a run to end are the master's to hear.

Somebody who ends a whole group (`systemctl stop`, `scancel`, `kill 0`) signals the fork server and the workers too.
The master then drains; these go on until it ends them.
"""

from __future__ import annotations

import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_to_master() -> None:
    """Makes this process deaf to ENDING, and blocks no signal, whatever it has inherited or imported.

    By a handler that does nothing: exec takes it back, where SIG_IGN or a blocked signal would be handed on to each
    program that a task starts.
    """
    for number in ENDING:
        signal.signal(number, _do_nothing)
        signal.siginterrupt(number, False)  # C code may not know that it has to try again
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def take_back() -> None:
    """For children that a task forks: they end by these signals, as multiprocessing's `terminate` expects."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass
