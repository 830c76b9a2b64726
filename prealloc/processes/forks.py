"""What a child that this process forks must do first, such as letting go of what only this process may hold.

A forked child has every open file of its parent. Nobody then sees the parent's death, and its locks live on,
for as long as the child does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Hashable


class Forks:
    """Actions that run in each forked child. There is one per process, since a hook cannot be taken out again."""

    def __init__(self) -> None:
        self._actions: dict[Hashable, Callable[[], None]] = {}
        self._hooked = False
        self._forking = threading.local()

    def do(self, key: Hashable, action: Callable[[], None]) -> None:
        """From now on, each forked child runs this."""
        if not self._hooked and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)
            self._hooked = True
        self._actions[key] = action

    def keep_from(self, descriptor: int) -> None:
        """From now on, no forked child holds what is open here. Call `forget` before it is closed."""
        self.do(descriptor, lambda: _let_go(descriptor))

    def forget(self, key: Hashable) -> None:
        """Takes back what was asked for under this key, or for this descriptor."""
        self._actions.pop(key, None)

    def _before(self) -> None:
        # Signals wait until the child has its own way with them: one that comes earlier would be lost on it.
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def _after(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)

    def _in_child(self) -> None:
        actions = list(self._actions.values())
        self._actions.clear()
        for action in actions:
            action()
        self._after()


def _let_go(descriptor: int) -> None:
    # Its number stays taken: closing it later must not close another file with that number.
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


forks = Forks()
"""The one of this process."""
