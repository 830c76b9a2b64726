"""The signals that ask a command or a run to end: which processes hear them and which ignore them.

Somebody who ends a whole group (`systemctl stop`, `scancel`, `kill 0`) signals the fork server and the workers too.
The master then drains; these go on until it ends them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from prealloc.processes.forks import forks

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Gives ENDING to a handler while the block runs. Outside the main thread no signal comes, and nothing is done.

    What is ignored stays ignored: `nohup` is meant. What is forked meanwhile ends as it would without us.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in ENDING}
    # None: not from Python, and could not be put back.
    before = {number: was for number, was in handlers.items() if was not in (signal.SIG_IGN, None)}

    def put_back() -> None:
        for number, was in before.items():
            signal.signal(number, was)

    for number in before:
        signal.signal(number, handler)
    forks.do(put_back, put_back)
    try:
        yield
    finally:
        put_back()
        forks.forget(put_back)


def leave_to_master() -> None:
    """Makes this process deaf to ENDING, and blocks no signal, whatever it has inherited or imported.

    By a handler that does nothing: exec takes it back, where SIG_IGN or a blocked signal would be handed on to each
    program that a task starts.
    """
    for number in ENDING:
        signal.signal(number, lambda number, frame: None)
        signal.siginterrupt(number, False)  # C code may not know that it has to try again
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def take_back() -> None:
    """For children that a task forks: they end by these signals, as multiprocessing's `terminate` expects."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def born_blocked() -> Iterator[None]:
    """What is started in the block begins with ENDING blocked, so that it lives until it can say that it is deaf."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signal_name(number: int) -> str:
    """As people know it: SIGKILL."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def how_it_ended(code: int) -> str:
    """A return code of subprocess's, in words."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
