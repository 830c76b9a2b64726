"""Temporary folders: none of a living process is ever removed, and those of killed ones are, once that is sure."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zygote import PROGRAM, command_environment, zygote

from prealloc.doctor.disk import check_left
from prealloc.doctor.finding import Level
from prealloc.files import private, temporary
from prealloc.files.temporary import left_alone, temporary_folder
from prealloc.processes.boot import boot_id

OWNER = """
import os, time
from prealloc.files.temporary import temporary_folder
with temporary_folder("host", {place!r}) as folder:
    (folder / "slice.json").write_text("tasks")
    child = os.fork()
    if child:
        print(folder, child, flush=True)
    time.sleep(600)
"""


def names(place: Path) -> set[str]:
    return {each.name for each in place.iterdir()}


def test_what_a_killed_owner_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """By the next of its kind, though a child that it has forked lives; while it lives itself nobody touches it."""
    place = tmp_path / "place"
    place.mkdir()
    with (tmp_path / "errors").open("wb") as errors:
        owner = zygote().start([PROGRAM, OWNER.format(place=str(place))], tmp_path, command_environment({}), errors)
    assert owner.stdout is not None
    with owner.stdout as printed:
        said, child = printed.readline().decode().split()
        left = Path(said)
        try:
            with temporary_folder("host", place) as other:
                assert names(place) == {left.name, other.name}
            assert (left / "slice.json").read_text() == "tasks"
            owner.kill()
            owner.wait()
            with temporary_folder("join", place):
                assert left.exists()
            with temporary_folder("host", place) as next_one:
                assert names(place) == {next_one.name}
            assert names(place) == set()
        finally:
            owner.kill()
            os.kill(int(child), 9)


@pytest.mark.parametrize("step", [(tempfile, "mkdtemp"), (temporary, "hold"), (Path, "rename")])
def test_no_start_takes_the_folder_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    """Wherever another one starts between two steps of making a folder."""
    real: Callable[..., Any] = getattr(*step)
    started = []

    def then_another(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        monkeypatch.setattr(*step, real)
        with temporary_folder("host", tmp_path):
            started.append(step)
        return done

    monkeypatch.setattr(*step, then_another)
    with temporary_folder("host", tmp_path) as folder:
        assert started
        assert names(tmp_path) == {folder.name}
        assert folder.stat().st_mode & 0o777 == 0o700


BOOT = boot_id()[:8]
LEFT = f"prealloc-host-{BOOT}-abcd_123"


def a_link(place: Path, there: Path) -> None:
    (place / LEFT).symlink_to(there)


def one_that_others_may_enter(place: Path, there: Path) -> None:
    there.rename(place / LEFT).chmod(0o755)


def of_another_boot(place: Path, there: Path) -> None:
    there.rename(place / f"prealloc-host-{int(BOOT, 16) ^ 1:08x}-abcd_123")


def without_a_boot(place: Path, there: Path) -> None:
    there.rename(place / "prealloc-host-abcd_123")


def of_another_name(place: Path, there: Path) -> None:
    there.rename(place / f"{LEFT}-mine")


@pytest.mark.parametrize("make", [a_link, one_that_others_may_enter, of_another_boot, without_a_boot, of_another_name])
def test_only_what_is_surely_left_is_removed(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    """What somebody else may have made, or may still use, stays as it is."""
    there, place = tmp_path / "there", tmp_path / "place"
    there.mkdir(mode=0o700)
    (there / "mine").touch()
    place.mkdir()
    make(place, there)
    with temporary_folder("host", place):
        pass
    (stays,) = place.iterdir()
    assert (stays / "mine").exists()
    assert left_alone(place) == ([stays] if make in (of_another_boot, without_a_boot) else [])


def test_another_user_s_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, too, removes its own alone."""
    (tmp_path / LEFT).mkdir(mode=0o700)
    me = os.getuid()
    monkeypatch.setattr(private.os, "getuid", lambda: me + 1)
    with temporary_folder("host", tmp_path):
        pass
    assert names(tmp_path) == {LEFT}
    monkeypatch.undo()
    with temporary_folder("host", tmp_path):
        assert LEFT not in names(tmp_path)


def test_without_locks_nothing_is_removed_and_the_doctor_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that nobody could lock has a name that nobody takes for one that is left."""
    assert check_left([tmp_path]).level is Level.OK
    monkeypatch.setattr(temporary, "hold", lambda descriptor: False)
    with temporary_folder("host", tmp_path) as folder:
        monkeypatch.undo()
        with temporary_folder("host", tmp_path):
            assert folder.exists()
        found = check_left([tmp_path])
        assert found.level is Level.WARNING
        assert str(folder) in found.seen


def test_a_place_that_nobody_may_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder can be made there all the same."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with temporary_folder("host", tmp_path) as folder:
        assert folder.is_dir()
