"""What outside programs tell: a file that grows is read line by line, whatever is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealloc.engines.command_results import Reported, ResultsTail
from prealloc.files.regular import Unusable
from prealloc.model.outcome import Status

MOST = 60


def ids(told: list[Reported | str]) -> list[str]:
    """The tasks of results; of what is none its first words."""
    return [each.task if isinstance(each, Reported) else " ".join(each.split()[-4:]) for each in told]


@given(st.lists(st.integers(0, 40), max_size=6))
def test_each_line_once_however_the_file_grows(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    """Law: pieces of any length, looked at after each, give the same results as the whole file; the last at the end."""
    path = tmp_path_factory.mktemp("results") / "told.jsonl"
    text = b'{"task":"a"}\n\n  \r\n{"task":"b"}\r\n{"task":"c"}'
    tail, told, at = ResultsTail(path, MOST), list[Reported | str](), 0
    for piece in (*cuts, len(text)):
        with path.open("ab") as file:
            file.write(text[at : at + piece])
        at += piece
        told += tail.new()
    assert ids(told) == ["a", "b"]
    assert ids(list(tail.new(ended=True))) == ["c"]
    assert list(tail.new(ended=True)) == []


def test_lines_that_are_too_long(tmp_path: Path) -> None:
    """Told once, however long; what comes behind is read. One that is too large by less is `failed`, not lost."""
    path = tmp_path / "told.jsonl"
    path.write_bytes(b"x" * (20 * MOST))
    tail = ResultsTail(path, MOST)
    too_long = f"more than {8 * MOST} bytes"
    assert ids(list(tail.new())) == [too_long]
    fits, large, longer = (_result(size) for size in (MOST, 2 * MOST, 8 * MOST + 1))
    with path.open("ab") as file:
        file.write(b"x" * MOST + b"\n" + b"\n".join([fits, large, longer, fits]))
    a, b, c, d = tail.new(ended=True)
    assert isinstance(a, Reported)
    assert isinstance(b, Reported)
    assert (a.status, b.status) == (Status.OK, Status.FAILED)
    assert ids([c, d]) == [too_long, "a"]


def _result(size: int) -> bytes:
    line = b'{"task":"a","result":"%s"}' % (b"y" * (size - 24))
    assert len(line) == size
    return line


def test_a_file_that_was_written_anew(tmp_path: Path) -> None:
    """One that is shorter than before was not appended to: told, and read on from its new end."""
    path = tmp_path / "told.jsonl"
    tail = ResultsTail(path, MOST)
    assert list(tail.new(ended=True)) == []
    path.write_text('{"task":"a"}\n{"task":"b"}\n')
    assert ids(list(tail.new())) == ["a", "b"]
    path.write_text('{"task":"a"}\n')
    (sentence,) = tail.new()
    assert "only append to it" in str(sentence)
    with path.open("a") as file:
        file.write('{"task":"c"}\n')
    assert ids(list(tail.new())) == ["c"]


def test_something_else_than_a_file(tmp_path: Path) -> None:
    """Nobody waits for a FIFO or reads a folder; a link may lead to a file beside it, but nowhere else."""
    outside = tmp_path / "outside"
    outside.write_text('{"task":"a"}\n')
    folder = tmp_path / "results"
    (folder / "folder").mkdir(parents=True)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(outside)
    (folder / "beside").write_text('{"task":"b"}\n')
    (folder / "within").symlink_to(folder / "beside")
    for name, problem in {"folder": "a folder", "fifo": "a FIFO", "link": "leads out of the folder"}.items():
        with pytest.raises(Unusable, match=problem):
            list(ResultsTail(folder / name, MOST).new())
    assert ids(list(ResultsTail(folder / "within", MOST).new())) == ["b"]
