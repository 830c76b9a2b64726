"""Task libraries in SQLite: what was written is what is read, or it is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from stored import (
    NO_WORKFLOW,
    RECORDS,
    all_of,
    full_places,
    is_refused_or_the_same,
    record,
    some_records,
    spoiled,
    texts_of,
    write_all,
)

from examples import examples
from prealloc.errors import CannotGoOn, InputError, LibraryError
from prealloc.library.base import Record, StoredLibrary
from prealloc.library.database import tables as database_file
from prealloc.library.database.library import new_database, open_database
from prealloc.library.database.sqlar import MOST_BYTES, CannotUnpack, pack, unpack

STEP = 11


def written(path: Path, records: Any = RECORDS) -> Path:
    write_all(new_database(path, force=True), records)
    return path


def opened(path: Path) -> StoredLibrary:
    return open_database(path, difficulty="hard", keep=("note",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "library.db")


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[Path, bytes, tuple[Any, ...]]]:
    """A place for spoiled files, the bytes of a good one, and what it says."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "library.db")
        yield path, path.read_bytes(), all_of(opened(path))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_was_written_is_read(path: Path) -> None:
    """Law: ids, types, counts and every text come back; workflows and kept fields keep their spelling."""
    library = opened(path)
    assert list(library.ids) == [one.id for one in RECORDS]
    assert list(library.types) == [one.type for one in RECORDS]
    assert (library.without_workflow, library.two_ids()) == (NO_WORKFLOW, len(RECORDS))
    assert list(library.objects(range(len(RECORDS)))) == texts_of(RECORDS)
    task = library.task(3)
    assert task.workflow_json == RECORDS[3].split()[0]
    assert task.extra_json == b'{"note":[3,1.50,"\\u00e9"]}'
    assert (library.info.tasks, library.info.difficulty, library.info.name) == (len(RECORDS), "hard", "library.db")
    assert (library.info.path, library.info.bytes) == (str(path), path.stat().st_size)


@given(some_records())
@examples(40)
def test_any_tasks_are_read_as_written(records: list[Record]) -> None:
    """Law: the same for any ids, types, workflows and fields."""
    with tempfile.TemporaryDirectory() as folder:
        library = opened(written(Path(folder) / "x.db", records))
        assert list(library.texts(range(len(records)))) == texts_of(records)
        assert list(zip(library.ids, library.types, strict=True)) == [(one.id, one.type) for one in records]


@given(st.lists(st.integers(0, len(RECORDS) - 1), max_size=30))
@examples(30)
def test_tasks_come_in_the_order_asked_for(whole: tuple[Path, bytes, Any], positions: list[int]) -> None:
    """Law: any order, and any task as often as it is asked for."""
    whole[0].write_bytes(whole[1])
    texts = texts_of(RECORDS)
    assert list(opened(whole[0]).texts(positions)) == [texts[position] for position in positions]


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path, path: Path) -> None:
    """Law: the same tasks in the same order have one fingerprint, whatever SQLite made of the file; no others have."""
    sha256 = opened(path).info.sha256
    change(path, "PRAGMA page_size = 512", "CREATE TABLE notes (text)")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    assert opened(path).info.sha256 == sha256
    others = (RECORDS[::-1], RECORDS[1:], [*RECORDS[:-1], record(RECORDS[-1].id, RECORDS[-1].type, "[]")])
    assert len({opened(written(tmp_path / "other.db", one)).info.sha256 for one in others} | {sha256}) == 4


def test_only_the_rows_asked_for_are_read(path: Path) -> None:
    """Law: a task that is damaged does not hinder others, and is refused itself."""
    change(path, "UPDATE bodies SET workflow = x'00' WHERE position = 3")
    library = opened(path)
    assert library.task(4).workflow_json == RECORDS[4].split()[0]
    with pytest.raises(LibraryError, match="cannot be unpacked") as caught:
        library.tasks([4, 3])
    assert caught.value.where == f"{path}, task 3 (id {RECORDS[3].id!a})"


def test_the_view_shows_the_texts(path: Path) -> None:
    """Law: with SQLite's own `sqlar_uncompress` the view `texts` shows every task as text."""

    def uncompress(blob: bytes | None, size: int | None) -> bytes | None:
        return blob if blob is None or not size or size == len(blob) else zlib.decompress(blob)

    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("sqlar_uncompress", 2, uncompress)
        rows = connection.execute("SELECT id, type, workflow, fields FROM texts ORDER BY position").fetchall()
    expected = [(one.id, one.type, *one.split()) for one in RECORDS]
    assert rows == [(id, type, flow and flow.decode(), rest.decode()) for id, type, flow, rest in expected]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3 shell")
def test_the_shell_shows_the_texts(path: Path) -> None:
    """Law: the plain `sqlite3` shell shows a workflow, with nothing to install."""
    query = "SELECT workflow FROM texts ORDER BY position LIMIT 1 OFFSET 7"
    shown = subprocess.run(["sqlite3", str(path), query], capture_output=True, text=True, timeout=30, check=False)
    if "no such function" in shown.stderr:
        pytest.skip("this shell was built without sqlar")
    workflow = RECORDS[7].split()[0]
    assert workflow is not None
    assert shown.stdout == workflow.decode() + "\n"


@given(st.data())
@examples(250, allow=[HealthCheck.too_slow])
def test_a_spoiled_file_is_refused_or_says_the_same(
    whole: tuple[Path, bytes, tuple[Any, ...]], data: st.DataObject
) -> None:
    """Law: bytes changed, cut off, cut out or added give the same tasks or a LibraryError, and nothing else."""
    path, good, said = whole
    path.write_bytes(data.draw(spoiled(good)))
    is_refused_or_the_same(opened, path, said)


def test_every_region_is_guarded(whole: tuple[Path, bytes, tuple[Any, ...]]) -> None:
    """Law: the same for a byte changed in every part of the file, one after the other."""
    path, good, said = whole
    refused, places = 0, full_places(good)[::STEP]
    for at in places:
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        refused += is_refused_or_the_same(opened, path, said)
    assert refused > len(places) // 2


SPOIL = {
    "an id": "UPDATE tasks SET id = 'other' WHERE position = 1",
    "a type": "UPDATE tasks SET type = 'other' WHERE position = 1",
    "a digest": "UPDATE tasks SET digest = zeroblob(16) WHERE position = 1",
    "a short digest": "UPDATE tasks SET digest = x'00' WHERE position = 1",
    "an id that is a number": "UPDATE tasks SET id = x'31' WHERE position = 1",
    "a task less": "DELETE FROM tasks WHERE position = 8",
    "a hole": "DELETE FROM tasks WHERE position = 1",
    "a task more": "INSERT INTO tasks VALUES (9, 'more', 'type 0', zeroblob(16))",
    "no tasks": "DELETE FROM tasks",
    "a count": "UPDATE meta SET value = value + 1 WHERE key = 'without_workflow'",
    "a count that is huge": "UPDATE meta SET value = 9223372036854775807 WHERE key = 'two_ids'",
    "a count below zero": "UPDATE meta SET value = -1 WHERE key = 'two_ids'",
    "a count that is text": "UPDATE meta SET value = 'nine' WHERE key = 'tasks'",
    "a count that is a blob": "UPDATE meta SET value = x'09' WHERE key = 'tasks'",
    "a count missing": "DELETE FROM meta WHERE key = 'tasks'",
    "a key more": "INSERT INTO meta VALUES ('more', 1)",
    "another fingerprint": "UPDATE meta SET value = '00' WHERE key = 'sha256'",
    "another format": "UPDATE meta SET value = 'other' WHERE key = 'format'",
    "a column more": "ALTER TABLE tasks ADD COLUMN more",
    "a table less": "DROP TABLE bodies",
}


@pytest.mark.parametrize("what", SPOIL)
def test_what_sqlite_itself_was_made_to_change_is_refused(path: Path, what: str) -> None:
    """Law: a database that is sound, but not the one that was written, is refused when it is opened."""
    change(path, SPOIL[what])
    with pytest.raises(LibraryError) as caught:
        opened(path)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(path))
    assert caught.value.mend


BODIES = {
    "missing": "DELETE FROM bodies WHERE position = 7",
    "another task's": "UPDATE bodies SET workflow = (SELECT workflow FROM bodies WHERE position = 8),"
    " workflow_bytes = (SELECT workflow_bytes FROM bodies WHERE position = 8) WHERE position = 7",
    "none": "UPDATE bodies SET workflow = NULL, workflow_bytes = NULL WHERE position = 7",
    "half none": "UPDATE bodies SET workflow_bytes = NULL WHERE position = 7",
    "text": "UPDATE bodies SET workflow = 'text' WHERE position = 7",
    "a size of text": "UPDATE bodies SET workflow_bytes = 'many' WHERE position = 7",
    "a size too small": "UPDATE bodies SET workflow_bytes = workflow_bytes - 1 WHERE position = 7",
    "a size too large": "UPDATE bodies SET workflow_bytes = workflow_bytes + 1 WHERE position = 7",
    "a size below zero": "UPDATE bodies SET workflow_bytes = -1 WHERE position = 7",
    "a size beyond all": "UPDATE bodies SET workflow_bytes = 9223372036854775807 WHERE position = 7",
    "more behind it": "UPDATE bodies SET workflow = CAST(workflow || x'00' AS BLOB) WHERE position = 7",
    "other fields": "UPDATE bodies SET fields = '{}', fields_bytes = 2 WHERE position = 7",
}


@pytest.mark.parametrize("what", BODIES)
def test_another_text_is_refused_when_it_is_read(path: Path, what: str) -> None:
    """Law: a text that is not the one written is refused, and the task is named."""
    change(path, BODIES[what])
    library = opened(path)
    with pytest.raises(LibraryError) as caught:
        library.task(7)
    assert f"task 7 (id {ascii(RECORDS[7].id)[:80]})" in str(caught.value.where)


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path, path: Path) -> None:
    """Law: what is read must be of the library that was opened, even if what lies there now is sound."""
    library = opened(path)
    other = [record(one.id, one.type, '"another"') for one in RECORDS]
    os.replace(written(tmp_path / "other.db", other), path)
    with pytest.raises(LibraryError, match="not what was written"):
        library.task(0)


def test_a_view_in_place_of_a_table_is_never_asked(path: Path) -> None:
    """Law: no query of the file's own is run: a view may count to the end of time."""
    change(
        path,
        "DROP TABLE tasks",
        "CREATE VIEW tasks AS WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n)"
        " SELECT x AS position, 'a' AS id, 'b' AS type, zeroblob(16) AS digest FROM n WHERE x < 0",
    )
    with pytest.raises(LibraryError, match="its tables are not as prealloc makes them"):
        opened(path)


def test_what_is_not_ours_is_told(tmp_path: Path, path: Path) -> None:
    """Law: another file, another database, a newer library, a folder and nothing at all are five messages."""
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    change(foreign, "CREATE TABLE tasks (id, type)")
    text.write_text("{}")
    change(path, "UPDATE meta SET value = 2 WHERE key = 'version'")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place, problem in (
        (foreign, "a SQLite database, but no task library that prealloc wrote"),
        (text, "no SQLite database"),
        (path, "it has version 2, this prealloc reads version 1"),
        (tmp_path, "it is no file but a folder"),
        (fifo, "it is no file but a FIFO"),
        (tmp_path / "none", "there is no such file"),
        (tmp_path / "a\0b", "it cannot be opened"),
    ):
        with pytest.raises(LibraryError, match=problem) as caught:
            opened(place)
        assert caught.value.mend


@pytest.mark.parametrize("name", ["a?mode=rwc", "a#b", "50%25", "é ü", "a&b=c", "a\nb", os.fsdecode(b"\xff")])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    """Law: whatever stands in a file's name, it is the file of that name that is written and read."""
    assert len(opened(written(tmp_path / name))) == len(RECORDS)
    assert os.listdir(tmp_path) == [name]


def test_a_file_that_may_only_be_read_is_enough(path: Path) -> None:
    """Law: reading makes no file beside it and needs no right to write."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert len(opened(path).tasks([0])) == 1
        assert os.listdir(path.parent) == [path.name]
    finally:
        path.parent.chmod(0o755)


def test_the_same_id_twice_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    """Law: two tasks of one id are a LibraryError, and no file is left."""
    twice = [record("a", "t", "1"), record("a", "t", "2")]
    with pytest.raises(LibraryError, match="two tasks have the id 'a'"):
        write_all(new_database(tmp_path / "x.db", force=False), twice)
    assert os.listdir(tmp_path) == []


def test_what_is_there_stays(path: Path) -> None:
    """Law: without force nothing is replaced; with it the old file stays until the new one is whole."""
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        write_all(new_database(path, force=False), RECORDS)
    with pytest.raises(ZeroDivisionError):
        write_all(new_database(path, force=True), RECORDS[:1], ZeroDivisionError())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


class _Full(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_FULL


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (_Full("database or disk is full"), CannotGoOn),
        (sqlite3.DataError("string or blob too big"), LibraryError),
        (OverflowError("BLOB longer than INT_MAX bytes"), LibraryError),
        (sqlite3.OperationalError("odd"), InputError),
    ],
)
def test_what_sqlite_says_when_it_writes(tmp_path: Path, error: Exception, becomes: type[Exception]) -> None:
    """Law: a full disk is CannotGoOn, a task too large is LibraryError, and nothing is left of the file."""
    with (
        pytest.raises(becomes) as caught,
        new_database(tmp_path / "x.db", force=False),
        database_file.writing_to(tmp_path / "x.db"),
    ):
        raise error
    assert type(caught.value) is becomes
    assert os.listdir(tmp_path) == []


def test_a_bomb_unpacks_to_no_more_than_it_says() -> None:
    """Law: unpacking makes no more bytes than stated, and a size that cannot be is refused before."""
    bomb = zlib.compress(bytes(1 << 24))
    for size in (len(bomb) + 1, 1 << 20, MOST_BYTES + 1, -1, 0):
        with pytest.raises(CannotUnpack):
            unpack(bomb, size)


@given(st.binary(max_size=300) | st.integers(0, 300).map(bytes))
def test_packing_never_makes_a_text_longer(text: bytes) -> None:
    """Law: what is packed unpacks to the same; it is as long as the text only if it is the text."""
    packed = pack(text)
    assert len(packed) <= len(text)
    assert (len(packed) < len(text)) or packed == text
    assert unpack(packed, len(text)) == text


def test_no_connection_stays_open(path: Path) -> None:
    """Law: a library holds no file open, also when its texts were not read to their end."""
    opens: Callable[[], int] = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731
    before = opens()
    library = opened(path)
    texts = library.texts([0, 1, 2])
    next(texts)
    del texts
    assert opens() == before
