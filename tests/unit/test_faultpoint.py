"""Fault points: off they do nothing, and a variable that cannot be meant is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prealloc.errors import OptionsError
from prealloc.files import faultpoint
from prealloc.files.faultpoint import ACTIONS, Fault, Kind, Point, parse_faults

PASS_THRICE = """
from prealloc.files.faultpoint import Point, fault_point
for _ in range(3):
    try:
        fault_point(Point.LOCK_WRITE, 1, b"0123456789")
    except OSError as error:
        print(error.strerror, flush=True)
"""


def test_off() -> None:
    """Without the variable a point is an empty function: no file, no count, no environment."""
    assert os.environ.get(faultpoint.VARIABLE) is None
    assert faultpoint.fault_point is faultpoint._nothing
    assert faultpoint.MASTER not in os.environ


def test_faults_are_read() -> None:
    """point:count:action, several by commas."""
    assert parse_faults("worker.journal.append:3:torn, fork.asked:1:kill") == (
        Fault(Point.WORKER_APPEND, 3, "torn"),
        Fault(Point.FORK_ASKED, 1, "kill"),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no point ''"),
        ("lock.wrte:1:EIO", "did you mean lock.write"),
        ("lock.write", "'' is not a count"),
        ("lock.write:0:EIO", "'0' is not a count"),
        ("lock.write:-1:EIO", "'-1' is not a count"),
        ("lock.write:1:EI0", "lock.write cannot 'EI0'"),
        ("fork.asked:1:ENOSPC", "use one of kill, kill-master, stop, EAGAIN"),
        ("fork.forked:1:EAGAIN", "use one of kill, kill-master, stop"),
        ("lock.open:1:torn", "use one of kill, kill-master, stop, EIO, ENOSPC"),
    ],
)
def test_a_mistake(text: str, told: str) -> None:
    """A typo would be a fault that never strikes, and a test that shows nothing: it is refused, with the hint."""
    with pytest.raises(OptionsError) as caught:
        parse_faults(text)
    assert told in str(caught.value)


def test_all_mistakes_are_told_together() -> None:
    """As everywhere."""
    with pytest.raises(OptionsError) as caught:
        parse_faults("a:1:kill,lock.write:x:kill,fork.asked:1:EIO")
    assert len(caught.value.mistakes) == 3


def test_every_kind_has_actions() -> None:
    """Whoever dies may die anywhere; only a disk, or who starts a process, can refuse; only a line can be cut."""
    assert {kind: {name for name, kinds in ACTIONS.items() if kind in kinds} for kind in Kind} == {
        Kind.HAND_OVER: {"kill", "kill-master", "stop"},
        Kind.WRITE: {"kill", "kill-master", "stop", "EIO", "ENOSPC"},
        Kind.LINE: {"kill", "kill-master", "stop", "EIO", "ENOSPC", "torn"},
        Kind.START: {"kill", "kill-master", "stop", "EAGAIN"},
    }


def passing(faults: str, folder: Path | None) -> tuple[int, str]:
    """The exit code and the output of a process that passes a point three times."""
    counts = {} if folder is None else {faultpoint.COUNTS: str(folder)}
    environment = {**os.environ, faultpoint.VARIABLE: faults, **counts}
    done = subprocess.run([sys.executable, "-c", PASS_THRICE], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_the_count_is_of_one_process(tmp_path: Path) -> None:
    """Without a folder each process counts for itself, from 1."""
    for _ in range(2):
        assert passing("lock.write:2:EIO", None) == (0, "Input/output error\n")


def test_the_count_is_of_all_processes(tmp_path: Path) -> None:
    """With a folder the passages of all go on counting, and the folder shows them."""
    assert passing("lock.write:5:EIO", tmp_path) == (0, "")
    assert passing("lock.write:5:EIO", tmp_path) == (0, "Input/output error\n")
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("lock.write", 6)]


@pytest.mark.parametrize(
    ("action", "code", "output"),
    [
        ("kill", -9, ""),
        ("kill-master", -9, ""),  # who is alone is the master
        ("torn", -9, "01234"),
        ("ENOSPC", 0, "01234No space left on device\n"),
        ("EIO", 0, "Input/output error\n"),
    ],
)
def test_what_an_action_leaves(action: str, code: int, output: str) -> None:
    """A line is cut in half by `torn`, and by a disk that becomes full."""
    assert passing(f"lock.write:1:{action}", None) == (code, output)
