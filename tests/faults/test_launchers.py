"""What starts workers, when it is killed itself: real processes, without an engine round them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness import wait_until

from prealloc.engines.fork_launcher import ForkServerLauncher
from prealloc.processes.tree import identify

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("asked_again", [False, True], ids=["quiet", "with a request it did not read"])
def test_what_a_worker_has_started_that_nobody_has_heard_of(tmp_path: Path, *, asked_again: bool) -> None:
    """I4: it dies with the fork server, though the master was too busy to hear that the worker was started."""
    child = tmp_path / "child"
    script = f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait"
    launcher = ForkServerLauncher()
    (server,) = launcher.helpers()
    with (tmp_path / "log").open("wb") as log:
        launcher.execute(1, ["/bin/sh", "-c", script], {}, str(tmp_path), log.fileno())
        wait_until(child.exists, "the child")
        if asked_again:
            os.kill(server, signal.SIGSTOP)
            launcher.execute(2, ["/bin/true"], {}, str(tmp_path), log.fileno())
    left = identify(int(child.read_text()))
    assert left is not None
    os.kill(server, signal.SIGKILL)
    launcher.close()
    assert identify(left.pid) != left
