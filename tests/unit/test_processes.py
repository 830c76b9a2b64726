"""What the ground room for processes promises, where no fault test of a run would show it alone."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from prealloc.processes.memory import unnamed_memory
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.signals import handled


@pytest.mark.parametrize("stand_in", [False, True])
def test_unnamed_memory_has_its_size_and_no_name(stand_in: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system has no memfd: then a file does it that no folder lists."""
    if stand_in:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = unnamed_memory("prealloc-test", 4096)
    try:
        status = os.fstat(descriptor)
        assert (status.st_size, status.st_nlink) == (4096, 0)
    finally:
        os.close(descriptor)


def test_signals_are_handled_in_the_block_alone() -> None:
    """What is ignored stays so, the handlers from before come back, and a forked child has them from the start."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled(lambda number, frame: heard.append(number)):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            child = os.fork()
            if child == 0:
                os._exit(int(signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]))
        assert os.waitpid(child, 0)[1] == 0
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_nothing_below_a_process_outlives_its_end() -> None:
    """Orphans too, which have left the session: killed, waited for, and the statuses of all given."""
    code = (
        "import os, subprocess; from prealloc.processes import parent, tree\n"
        "parent.adopt_orphans()\n"
        "child = subprocess.Popen(['sh', '-c', 'setsid sleep 60 & echo; wait'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "(orphan,) = [each.pid for each in tree.descendants([child.pid])]\n"
        "ended = tree.end_all_below()\n"
        "print(ended == {child.pid: 9, orphan: 9}, tree.descendants([os.getpid()]))"
    )
    assert subprocess.check_output(fresh_interpreter(code), text=True) == "True []\n"
