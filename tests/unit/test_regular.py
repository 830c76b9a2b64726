"""Files that are opened with care: nothing waits, nothing is followed out, nothing is written through a link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prealloc.files.regular import Missing, Unusable, open_regular, read_regular


def test_a_file_inside_is_read_also_through_a_link(tmp_path: Path) -> None:
    """A link may stand on the way as long as it stays in the folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    assert read_regular(tmp_path / "link" / "a", inside=tmp_path, most=7) == b"content"


@pytest.mark.parametrize("way", ["../outside/a", "folder/a", "up/outside/a"])
def test_no_way_leads_out(tmp_path: Path, way: str) -> None:
    """By a name, a linked file or a linked folder: the file outside is not opened."""
    inside = tmp_path / "inside"
    for folder in (inside, tmp_path / "outside"):
        folder.mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"x")
    (inside / "folder").symlink_to("../outside")
    (inside / "up").symlink_to("..")
    with pytest.raises(Unusable, match="leads out"):
        read_regular(inside / way, inside=inside, most=10)


def test_what_becomes_a_fifo_after_the_look_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening anything may happen: opening never blocks, and the opened thing is looked at."""
    path = tmp_path / "a"
    path.write_bytes(b"x")
    look = os.stat

    def then_replace(where: str, **more: Any) -> os.stat_result:
        status = look(where, **more)
        if where == path and not (seen or seen.append(where)):
            path.unlink()
            os.mkfifo(path)
        return status

    seen: list[str] = []
    monkeypatch.setattr("prealloc.files.regular.os.stat", then_replace)
    with pytest.raises(Unusable, match="FIFO"):
        read_regular(path, most=10)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused: half of the old and half of the new is neither."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    read = os.read

    def grow(descriptor: int, most: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        return read(descriptor, most)

    monkeypatch.setattr("prealloc.files.regular.os.read", grow)
    with pytest.raises(Unusable, match="changed while it was read"):
        read_regular(path, most=1000)


@pytest.mark.parametrize("make", [lambda path, to: path.symlink_to(to), lambda path, to: os.link(to, path)])
def test_nothing_is_written_through_a_link(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    """A soft or hard link in a file's place: what is behind it stays as it was."""
    (tmp_path / "thesis").write_bytes(b"years")
    make(tmp_path / "lock", tmp_path / "thesis")
    with pytest.raises(Unusable, match="link"):
        open_regular(tmp_path / "lock", inside=tmp_path, flags=os.O_RDWR | os.O_CREAT)
    assert (tmp_path / "thesis").read_bytes() == b"years"


@pytest.mark.parametrize("path", ["none", "none/deeper", "x" * 300, "a\0b"])
def test_no_path_at_all(tmp_path: Path, path: str) -> None:
    """Names that lead nowhere, or cannot be names, are told like anything else."""
    with pytest.raises(Unusable):
        read_regular(tmp_path / path, inside=tmp_path, most=10)
    with pytest.raises(Missing):
        read_regular(tmp_path / "none", inside=tmp_path, most=10)
