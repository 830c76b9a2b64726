"""The index of a library file, and the pool: single tasks, trust, and damage of every kind."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prealloc.api import libraries
from prealloc.api.plans import plan
from prealloc.errors import LibraryError, OptionsError
from prealloc.files.paths import index_places
from prealloc.library import read_library
from prealloc.library.packed.index import TaskIndex, check_index, make_index
from prealloc.library.packed.pool import FORMAT, SharedTaskPool
from prealloc.library.packed.table import Columns, ColumnsBuilder
from prealloc.library.text.library import TextLibrary
from prealloc.sample_library.write import write_sample

TYPES = ["a", "b", "b", "c"]


def tasks(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"task-{n}",
            "type": TYPES[n % 4],
            "more": n,
            "workflow": {"steps": list(range(n % 7)), "pad": "x" * 40},
        }
        for n in range(count)
    ]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"tasks": tasks(40), "about": "x"}, indent=1))
    return path


def opened(path: Path) -> TaskIndex:
    make_index(path)
    return TaskIndex.open(path)


# -- single tasks -----------------------------------------------------------------------------------------------


def test_a_task_by_its_id(library: Path) -> None:
    """Law: `index[id]` is the task that reading the library whole gives, and an unknown id is a KeyError."""
    whole = read_library(library)
    with opened(library) as index:
        for position, id in enumerate(whole.ids):
            assert index[id] == whole.task(position)
            assert id in index
        with pytest.raises(KeyError):
            index["nobody"]
        assert "nobody" not in index


def test_what_lies_beside_a_task_is_not_looked_at(library: Path) -> None:
    """Law: with every byte outside a task's text overwritten in place, the index still gives that task."""
    with opened(library) as index:
        start, length = index.columns.place(index.position("task-7"))
        stat = library.stat()
        text = library.read_bytes()
        with library.open("r+b") as file:
            file.write(b"#" * start)
            file.seek(start + length)
            file.write(b"#" * (len(text) - start - length))
        os.utime(library, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert index["task-7"].workflow == tasks(40)[7]["workflow"]


@pytest.mark.parametrize("name", [None, "a", "b", "c"])
def test_a_random_task(library: Path, tmp_path: Path, name: str | None) -> None:
    """Law: a seed names a task of the type, whatever the file's order; over many seeds every task comes."""
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(json.dumps(task) for task in reversed(tasks(40))))
    pool = tmp_path / "tasks.pool"
    libraries.convert(library, pool)
    with opened(library) as one, opened(other) as two, SharedTaskPool(pool) as three:
        seen = set()
        for seed in range(400):
            task = one.random_task(name, seed)
            assert task == two.random_task(name, seed) == three.random(name, seed)
            assert name in (None, task.type)
            seen.add(task.id)
        assert len(seen) == (40 if name is None else 20 if name == "b" else 10)
        with pytest.raises(KeyError):
            one.random_task("nothing", 0)
        assert three.random(name).type in ("a", "b", "c")


def test_a_stream_reads_the_text_itself(library: Path) -> None:
    """Law: the text is read if somebody says so, although an index fits it."""
    make_index(library)
    assert [read_library(library, stream=stream).way for stream in (False, True)] == ["index", "json"]


def test_an_index_is_small(tmp_path: Path) -> None:
    """Law: at most 64 bytes a task beside its id; for 630 tasks under 100 KB."""
    path = tmp_path / "tasks.json"
    write_sample(path, tasks=630, workflow_bytes=100)
    made = make_index(path)
    ids = sum(len(id.encode()) for id in read_library(path).ids)
    assert made.bytes <= 64 * 630 + ids
    assert made.bytes < 100_000


# -- trust ------------------------------------------------------------------------------------------------------


def grown(path: Path) -> None:
    path.write_text(json.dumps({"tasks": tasks(41), "about": "x"}, indent=1))


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def copied(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    os.replace(copy, path)


@pytest.mark.parametrize("change", [grown, touched, copied])
def test_a_library_that_was_changed(library: Path, change: Callable[[Path], None]) -> None:
    """Law: an index is for the file it was made of: another size, time or inode, and the file is read instead."""
    make_index(library)
    change(library)
    with pytest.raises(LibraryError, match="changed since it was indexed"):
        TaskIndex.open(library)
    notes: list[str] = []
    found = read_library(library, notes=notes.append)
    assert isinstance(found, TextLibrary)
    assert len(notes) == 1
    assert "prealloc library index" in notes[0]
    make_index(library)
    assert isinstance(read_library(library), TaskIndex)


def test_a_change_that_nobody_noticed(library: Path) -> None:
    """Law: a task whose bytes are others than those indexed is refused, though size and time are the same."""
    with opened(library):
        pass
    stat = library.stat()
    text = library.read_text()
    library.write_text(text.replace('"more": 7,', '"more": 8,'))
    os.utime(library, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with TaskIndex.open(library) as index:
        assert index["task-8"].id == "task-8"
        with pytest.raises(LibraryError, match="changed since it was indexed"):
            index["task-7"]
    with pytest.raises(LibraryError, match="not what was indexed"):
        check_index(library)
    with pytest.raises(LibraryError, match="changed since it was indexed"):
        plan(library, whole=True)


def test_check_takes_what_fits(library: Path) -> None:
    """Law: `--check` is content with a library that is as it was."""
    make_index(library)
    assert check_index(library) == hashlib.sha256(library.read_bytes()).hexdigest()


def test_where_nothing_can_be_written(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: beside a library in a folder that is not ours, the index goes to the cache folder, and is found there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("prealloc.library.packed.index.os.access", lambda path, mode: False)  # root may write anywhere
    beside, cached = index_places(library)
    assert make_index(library).path == str(cached)
    assert not beside.exists()
    assert isinstance(read_library(library), TaskIndex)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert make_index(library).path == str(beside)
    assert not cached.exists()


def test_what_cannot_be_indexed(tmp_path: Path, library: Path) -> None:
    """Law: packed files, other formats and what is no library are refused, and no index is left behind."""
    packed = tmp_path / "t.json.gz"
    libraries.convert(library, packed)
    with pytest.raises(LibraryError, match="packed"):
        libraries.index(packed)
    database = tmp_path / "t.db"
    libraries.convert(library, database)
    with pytest.raises(LibraryError, match="without an index"):
        libraries.index(database)
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps([*tasks(3), *tasks(1)]))
    with pytest.raises(LibraryError, match="more than once: 'task-0' in tasks 0, 3"):
        libraries.index(twice)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".index"]


# -- damage -----------------------------------------------------------------------------------------------------


def test_a_damaged_index_is_made_again(library: Path) -> None:
    """Law: `library index` repairs an index with any byte of its beginning changed, and one that was cut.

    Until then a plan is made of the library itself. Damage of every kind is told: contract/test_formats.py.
    """
    planned = plan(library, num_instances=5).file.id
    file = Path(make_index(library).path)
    whole = file.read_bytes()
    for damaged in (*(whole[:at] + b"#" + whole[at + 1 :] for at in range(40)), b"", whole[:9]):
        file.write_bytes(damaged)
        assert plan(library, num_instances=5).file.id == planned
        make_index(library)
        assert file.read_bytes() == whole


def test_somebody_elses_file_is_not_replaced(library: Path) -> None:
    """Law: what lies where the index would be and is none stays, be it notes or a folder; how to move it is said."""
    beside, _ = index_places(library)
    beside.write_text("my own notes")
    notes: list[str] = []
    read_library(library, notes=notes.append)
    move = shlex.join(["mv", str(beside), f"{beside}.aside"])
    assert notes[0].endswith(f"`{move} && prealloc library index {library}` repairs it")
    with pytest.raises(LibraryError, match="would be replaced"):
        make_index(library)
    assert beside.read_text() == "my own notes"
    beside.unlink()
    beside.mkdir()
    with pytest.raises(LibraryError, match="would be replaced"):
        make_index(library)


def test_an_index_of_a_long_name_goes_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a name that leaves no room for the ending is no reason to refuse."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / ("n" * 246 + ".json")
    path.write_text(json.dumps(tasks(3)))
    assert str(tmp_path / "cache") in make_index(path).path
    assert isinstance(read_library(path), TaskIndex)


def test_a_bad_index_does_not_hide_a_good_one(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: of the two places each is looked at, whatever the other holds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    beside, cached = index_places(library)
    make_index(library)
    cached.parent.mkdir(parents=True)
    shutil.copy(beside, cached)
    for bad, good in ((beside, cached), (cached, beside)):
        content = bad.read_bytes()
        bad.write_bytes(content[:-1])
        assert isinstance(read_library(library), TaskIndex), good
        bad.write_bytes(content)


def test_too_many_types_for_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what could not be read again is not written."""
    monkeypatch.setattr("prealloc.library.packed.table.MOST_HEAD", 600)
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"id": f"t{n}", "type": f"type {n}"} for n in range(99)]))
    with pytest.raises(LibraryError, match="99 types"):
        make_index(path)
    with pytest.raises(LibraryError, match="99 types"):
        libraries.convert(path, tmp_path / "t.pool")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.json"]


def table() -> ColumnsBuilder:
    """The columns of nine tasks."""
    builder, numbers = ColumnsBuilder(), range(9)
    builder.counts.tasks = 9
    ids = [f"t{n}" for n in numbers]
    builder.extend(ids, TYPES * 2 + ["a"], [bytes(16)] * 9, start=numbers, length=numbers, workflow=numbers)
    builder.finish("")
    return builder


def test_an_order_that_leads_nowhere_is_refused() -> None:
    """Law: a table whose check is right is refused all the same where its order names a task that there is not."""
    builder = table()
    builder.order[4] = 9
    head, pieces = builder.pack(FORMAT, None)
    with pytest.raises(LibraryError, match="its columns do not fit each other"):
        Columns(head, memoryview(b"".join(pieces)), FORMAT, "")


def test_a_table_is_the_same_for_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: columns are little-endian, whichever end the machine begins at: what it reads is what it wrote."""
    written = {}
    for order in ("little", "big"):
        monkeypatch.setattr(sys, "byteorder", order)
        head, pieces = table().pack(FORMAT, None)
        written[order] = b"".join(pieces)
        columns = Columns(head, memoryview(written[order]), FORMAT, "")
        assert [columns.place(n) for n in range(9)] == [(n, n) for n in range(9)]
        assert [columns.position(columns.id(n)) for n in range(9)] == [*range(9)]
    assert written["little"][7::-1] == written["big"][:8]


# -- as an object -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["index", "pool"])
def packed(request: pytest.FixtureRequest, library: Path) -> TaskIndex | SharedTaskPool:
    """Either of them, with a kept field."""
    if request.param == "index":
        make_index(library)
        return TaskIndex.open(library, keep=("more",))
    libraries.convert(library, library.with_suffix(".pool"))
    return SharedTaskPool(library.with_suffix(".pool"), keep=("more",))


def test_kept_fields_by_every_way(packed: TaskIndex | SharedTaskPool) -> None:
    """Law: `keep` holds for a task by its id, by chance and by its position."""
    assert packed["task-7"].extra == {"more": 7}
    by_chance = packed.random("a", 1) if isinstance(packed, SharedTaskPool) else packed.random_task("a", 1)
    assert by_chance.extra.keys() == {"more"}
    assert packed.task(packed.position("task-7")) == packed["task-7"]
    with pytest.raises(OptionsError):
        reopened(packed, keep=("id",))


def test_kept_fields_are_in_one_order(library: Path) -> None:
    """Law: fields are kept as a plan keeps them, in whatever order they are named."""
    library.write_text(json.dumps([{"id": "x", "type": "a", "b": 1, "a": 2}]))
    make_index(library)
    with TaskIndex.open(library, keep=("b", "a", "b")) as index:
        assert index["x"] == read_library(library, keep=("a", "b")).task(0)
        assert index["x"].extra_json == b'{"a":2,"b":1}'


def reopened(packed: TaskIndex | SharedTaskPool, keep: tuple[str, ...]) -> object:
    path = packed.path
    return TaskIndex.open(path, keep=keep) if isinstance(packed, TaskIndex) else SharedTaskPool(path, keep=keep)


def test_it_pickles_as_its_path(packed: TaskIndex | SharedTaskPool) -> None:
    """Law: what another process gets is attached to the same file, with the same kept fields."""
    with pickle.loads(pickle.dumps(packed)) as other:
        assert other["task-7"] == packed["task-7"]
        assert list(other) == list(packed)


def test_what_is_not_there(packed: TaskIndex | SharedTaskPool) -> None:
    """Law: ids that are none are KeyErrors, positions outside are IndexErrors, and iterating gives the ids."""
    for nothing in ("nobody", 5, None):
        with pytest.raises(KeyError):
            packed[nothing]  # type: ignore[index]
        assert nothing not in packed
    for position in (-1, 40):
        with pytest.raises(IndexError):
            packed.task(position)
    assert sorted(packed) == sorted(f"task-{n}" for n in range(40))


def test_after_closing(packed: TaskIndex | SharedTaskPool) -> None:
    """Law: a closed one says so, may be closed again, and leaves the tasks that it gave as they are."""
    task = packed["task-7"]
    packed.close()
    packed.close()
    assert task.workflow == tasks(40)[7]["workflow"]
    for use in (lambda: packed["task-7"], lambda: packed.task(0), lambda: "task-7" in packed):
        with pytest.raises(LibraryError, match="closed"):
            use()


def test_a_pool_that_was_written_to(library: Path) -> None:
    """Law: a reader refuses a pool that was cut or written to since it was attached, and lives."""
    pool = library.with_suffix(".pool")
    for spoil in (lambda: os.truncate(pool, 100), lambda: pool.write_bytes(pool.read_bytes()[::-1])):
        pool.unlink(missing_ok=True)
        libraries.convert(library, pool)
        with SharedTaskPool(pool) as attached:
            attached["task-7"]
            spoil()
            with pytest.raises(LibraryError, match="written to"):
                attached["task-7"]


def test_what_the_cache_gives_is_ones_own(library: Path) -> None:
    """Law: changing a workflow that was given changes it for nobody else."""
    with opened(library) as index:
        index["task-3"].workflow["steps"].append("mine")
        assert index["task-3"].workflow == tasks(40)[3]["workflow"]
        assert index.cache.hit_rate == 0.5


# -- many processes ---------------------------------------------------------------------------------------------

READER = """
import sys
from prealloc.library.packed.pool import FORMAT, SharedTaskPool
from prealloc.library.packed.table import Columns, ColumnsBuilder
with SharedTaskPool(sys.argv[1]) as pool:
    print(sum(len(pool[id].workflow_json) for id in pool.ids), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    "opening", ["packed.index import TaskIndex; open = TaskIndex.open", "packed.pool import SharedTaskPool as open"]
)
def test_reading_what_is_open_imports_nothing(library: Path, tmp_path: Path, opening: str) -> None:
    """Law: a process forked beside a thread that reads takes no import's lock along, which it would wait for."""
    make_index(library)
    pool = tmp_path / "tasks.pool"
    libraries.convert(library, pool)
    code = (
        f"import sys; from prealloc.library.{opening}\n"
        "with open(sys.argv[1]) as tasks:\n"
        "    before = {*sys.modules}\n"
        "    print(len([tasks[id].workflow for id in tasks.ids]), {*sys.modules} - before)"
    )
    path = pool if "Pool" in opening else library
    assert subprocess.check_output([sys.executable, "-c", code, str(path)], text=True) == "40 set()\n"


def test_a_pool_leaves_nothing_behind(library: Path, tmp_path: Path) -> None:
    """Law: readers have no shared memory and no file that could be left; killed, the pool serves the next ones."""
    pool = tmp_path / "tasks.pool"
    libraries.convert(library, pool)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(pool)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = {reader.stdout.readline() for reader in readers if reader.stdout}
    assert len(told) == 1
    for reader in readers if os.path.isdir("/proc/self") else ():
        maps = Path(f"/proc/{reader.pid}/maps").read_text()
        assert re.findall(f"{re.escape(str(pool))}|/dev/shm|SYSV", maps) == [str(pool)]
    for reader in readers:
        reader.kill()
        reader.communicate()
    assert {path.name for path in tmp_path.iterdir()} == {pool.name, library.name}
    assert len(read_library(pool).tasks(range(40))) == 40


def test_a_new_pool_takes_the_old_ones_place(library: Path, tmp_path: Path) -> None:
    """Law: who is attached goes on with the old tasks, whole; who attaches next has the new ones."""
    pool = tmp_path / "tasks.pool"
    libraries.convert(library, pool)
    with SharedTaskPool(pool) as old:
        other = tmp_path / "other.json"
        other.write_text(json.dumps(tasks(3)))
        libraries.convert(other, pool, force=True)
        assert len([old[id] for id in old.ids]) == 40
        assert len(read_library(pool).tasks(range(3))) == 3
