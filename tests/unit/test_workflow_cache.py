"""The cache of generated workflows: first line wins, damage is ignored, planners share it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prealloc.errors import InputError
from prealloc.files.paths import workflow_cache
from prealloc.store.workflow_cache import WorkflowCache, WorkflowKey

KEYS = [WorkflowKey(f"t{n}", f"{n:064}") for n in range(4)]


def cache(folder: Path, version: str = "1") -> WorkflowCache:
    return WorkflowCache(folder, "gen:make", version)


def filled(folder: Path) -> Path:
    made = cache(folder)
    for n, key in enumerate(KEYS[:3]):
        made.add(key, b'{"n":%d}' % n)
    return made.path


def test_what_was_added_is_found_by_id_and_digest_for_this_version_only(tmp_path: Path) -> None:
    """Another task of the same id, another version: not found."""
    filled(tmp_path)
    assert cache(tmp_path).find(KEYS) == {key: b'{"n":%d}' % n for n, key in enumerate(KEYS[:3])}
    assert cache(tmp_path).find([WorkflowKey("t0", "f" * 64)]) == {}
    assert cache(tmp_path, "2").find(KEYS) == {}
    assert cache(tmp_path / "nowhere").find(KEYS) == {}


def test_an_unfinished_last_line_is_no_damage_and_closed_by_the_next(tmp_path: Path) -> None:
    """A planner killed while it wrote loses that workflow and no other, before or after."""
    path = filled(tmp_path)
    raw = path.read_bytes()
    for cut in (1, 2, 30, 150):
        path.write_bytes(raw[:-cut])
        torn = cache(tmp_path)
        assert torn.find(KEYS).keys() == set(KEYS[:2])
        assert torn.damaged == 0
        assert torn.add(KEYS[3], b"3") == b"3"
        again = cache(tmp_path)
        assert again.find(KEYS).keys() == {*KEYS[:2], KEYS[3]}
        assert again.damaged == 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        b'{"format":"prealloc.workflow","version":2}',
        b"9" * 100,
    ],
    ids=repr,
)
def test_damaged_lines_are_counted_and_ignored(tmp_path: Path, line: bytes) -> None:
    """Whatever stands in a line: the others count."""
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line[:200_000], *lines[1:]]) + b"\n")
    found = cache(tmp_path)
    assert found.find(KEYS).keys() == set(KEYS[:3])
    assert found.damaged == 1


@pytest.mark.parametrize("change", [(b'{"n":1}', b'{"n":7}'), (b'{"n":1}', b'{"n": 1}'), (b"gen:make", b"gen:fake")])
def test_a_changed_workflow_is_not_taken_for_one(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    """One byte: the digest, the form or the name does not fit."""
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes().replace(*change))
    found = cache(tmp_path)
    assert KEYS[1] not in found.find(KEYS)
    assert found.damaged >= 1


def test_of_two_planners_at_once_the_first_counts_for_both(tmp_path: Path) -> None:
    """What the second made of the same task is not what its plan gets: the next plan would get another."""
    one, two = cache(tmp_path), cache(tmp_path)
    one.find(KEYS), two.find(KEYS)
    assert one.add(KEYS[0], b'"one"') == b'"one"'
    assert two.add(KEYS[0], b'"two"') == b'"one"'
    assert two.add(KEYS[1], b'"two"') == b'"two"'
    assert one.add(KEYS[1], b'"one"') == b'"two"'
    assert cache(tmp_path).find(KEYS) == {KEYS[0]: b'"one"', KEYS[1]: b'"two"'}


ADD_MANY = """
import sys
from pathlib import Path
from prealloc.store.workflow_cache import WorkflowCache, WorkflowKey
cache = WorkflowCache(Path(sys.argv[1]), "gen:make", "1")
cache.find([])
for n in range(30):
    cache.add(WorkflowKey(f"t{n}", f"{n:064}"), b'"%s"' % (sys.argv[2].encode() * 50_000))
"""


def test_planners_at_once_leave_whole_lines_and_one_for_each_task(tmp_path: Path) -> None:
    """Lines far larger than a page, from three processes: none is mixed up, none is there twice."""
    writers = [subprocess.Popen([sys.executable, "-c", ADD_MANY, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = cache(tmp_path)
    assert len(found.find([WorkflowKey(f"t{n}", f"{n:064}") for n in range(30)])) == 30
    assert found.damaged == 0
    assert found.path.read_bytes().count(b"\n") == 30


def test_a_place_that_cannot_hold_it_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A file in the folder's place; a FIFO in the file's, which is not waited for."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another ‹workflow_cache›"):
        cache(tmp_path / "file" / "inner").prepare()
    os.mkfifo(cache(tmp_path).path)
    for use in (cache(tmp_path).prepare, lambda: cache(tmp_path).find(KEYS)):
        with pytest.raises(InputError, match="FIFO"):
            use()


def test_the_default_is_the_users_cache_folder() -> None:
    """XDG_CACHE_HOME if it is absolute, else ~/.cache."""
    assert workflow_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/prealloc/workflows")
    for environment in ({}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "x"}):
        assert workflow_cache(environment) == Path.home() / ".cache" / "prealloc" / "workflows"
