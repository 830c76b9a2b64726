"""What is said when the system is short of something: which limit it is, and how to fix it."""

from __future__ import annotations

import errno
import os
import resource
import types
from pathlib import Path

import pytest

from prealloc.engines.admission import FILES_EACH, within_open_files
from prealloc.engines.log import last_lines
from prealloc.errors import CannotGoOn
from prealloc.files.atomic import must_write
from prealloc.worker.process import one_thread_each


def hint(number: int, path: Path) -> str:
    with pytest.raises(CannotGoOn) as caught, must_write(path):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in caught.value.problem
    return caught.value.hint or ""


def test_each_shortage_has_its_own_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files, space, inodes, processes: four hints. What is no shortage has none."""
    assert "`ulimit -n`" in hint(errno.EMFILE, tmp_path)
    assert "or lower workers" in hint(errno.EMFILE, tmp_path)
    assert "df -h" in hint(errno.ENOSPC, tmp_path / "not" / "there")
    assert "ulimit -u" in hint(errno.EAGAIN, tmp_path)
    assert hint(errno.EACCES, tmp_path) == ""
    for files, inodes_left, told in ((100, 1, "df -i"), (100, 90, "df -h"), (0, 0, "df -h")):  # 0: not counted
        disk = types.SimpleNamespace(f_files=files, f_favail=inodes_left, f_blocks=100, f_bavail=50)
        monkeypatch.setattr(os, "statvfs", lambda path, disk=disk: disk)
        assert told in hint(errno.ENOSPC, tmp_path)


@pytest.mark.parametrize("limit", [200, 1024, 4096])
def test_workers_within_the_limit_of_open_files(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit, at least one; and what is said would let all run."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert within_open_files(5) == (5, None)
    bearable, told = within_open_files(10_000)
    assert told is not None
    needed = int(told.split("at once need ")[1].split()[0])
    assert needed - FILES_EACH * (10_000 - bearable) <= limit < needed - FILES_EACH * (10_000 - bearable - 1)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (needed, needed))
    assert within_open_files(10_000) == (10_000, None)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10, 10))
    assert within_open_files(3)[0] == 1
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert within_open_files(10_000) == (10_000, None)


def test_the_last_lines_of_an_output() -> None:
    """Five lines, none too long, none empty, no key; nothing of an empty one."""
    assert last_lines(b"") == ""
    assert last_lines(b"\n \n") == ""
    assert last_lines(b"one\n\ntwo sk-abcdefghijk\n") == "; it printed:\n  one\n  two ***"
    printed = b"".join(b"%d" % n + b"x" * 1000 + b"\n" for n in range(100))
    lines = last_lines(printed).splitlines()[1:]
    assert [line[2:4] for line in lines] == ["95", "96", "97", "98", "99"]
    assert all(len(line) <= 302 for line in lines)
    assert last_lines(b"\xff\xfe") == "; it printed:\n  \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("1", "1", "1")),
        ({"OMP_NUM_THREADS": "4"}, ("4", None, None)),
        ({"OPENBLAS_NUM_THREADS": "4"}, ("1", "4", "1")),
        ({"MKL_NUM_THREADS": "4", "OMP_NUM_THREADS": "2"}, ("2", None, "4")),
    ],
)
def test_threads_of_numerical_libraries(
    given: dict[str, str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One, unless the user says otherwise; where OMP_NUM_THREADS is set, the others follow it by themselves."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    monkeypatch.setattr(os, "environ", dict(given))
    one_thread_each()
    assert tuple(os.environ.get(name) for name in names) == expected
